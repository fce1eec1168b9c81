"""The gateway process: everything put together, started, and ended in good order."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import uvloop

from sluicegate.acceptance import Acceptor
from sluicegate.config.model import Config
from sluicegate.consent.suppressed import read_suppressed
from sluicegate.errors import LogError, SluicegateError
from sluicegate.eventlog.base import EventLog
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.space import FreeSpace
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.gateway.auth import WriteKeys
from sluicegate.gateway.collecting import Collecting
from sluicegate.gateway.committing import LoopCommit
from sluicegate.gateway.consent import ConsentDesk
from sluicegate.gateway.control import ControlLine
from sluicegate.gateway.cors import Cors
from sluicegate.gateway.ingest import Ingest, Waiting
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.notices import Notices
from sluicegate.gateway.probes import Probes, StatusProvider
from sluicegate.gateway.protocol import Connection
from sluicegate.gateway.readiness import Readiness
from sluicegate.gateway.regulations import RegulationDesk
from sluicegate.gateway.routes import Routes
from sluicegate.gateway.sources import Sources
from sluicegate.gateway.status import SupervisorStatus
from sluicegate.gateway.traffic import Traffic
from sluicegate.gateway.withdrawal import Withdrawals
from sluicegate.memory import collect_seldom, keep_freed_memory
from sluicegate.metrics import GatewayMetrics
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

MAX_TICK_S = 1.0
RESERVED_FDS = 256
"""For everything but connections, and for those on their way out; half of them when the system gives few."""
CLOSE_TIMEOUT_S = 5.0
BACKLOG = 1_024


class Server:
    """The gateway on one event loop; `run` makes a process of it. `clock` says when events arrived, in Unix seconds."""

    def __init__(
        self,
        config: Config,
        *,
        limits: Limits | None = None,
        open_log: Callable[[], EventLog] | None = None,
        status_provider: StatusProvider | None = None,
        on_fatal: Callable[[LogError], None] = lambda error: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.limits = limits or Limits.of(config.gateway)
        self.readiness = Readiness()
        self.metrics = GatewayMetrics()
        self._data_dir = data_dir = DataDir(config.data_dir)
        self._seen = SeenIds.of(config.log)
        self._space = FreeSpace(data_dir.root, config.log)
        self._bell = Bell(data_dir.bell)
        self._writer = self._make_writer(
            open_log or (lambda: _open_log(data_dir, self._seen, clock)), on_fatal=on_fatal, clock=clock
        )
        self._collecting = Collecting(config, self.metrics.consent)
        keys = WriteKeys(config.gateway.write_keys)
        acceptor = Acceptor(config.gateway, config.purposes, config.consent)
        self._ingest = self._make_ingest(acceptor, keys)
        self._withdrawals = Withdrawals(config)
        notices = Notices(
            config, submit=self._writer.submit, taken=self._collecting.taken, then=self._withdrawals.after_write
        )
        self._consent = ConsentDesk(config, keys, after_write=notices.after_write, counts=self.metrics.consent)
        self._regulations = RegulationDesk(config)
        sources = Sources(keys, script=config.gateway.analytics_js)
        self._probes = Probes(
            self.readiness,
            self.metrics,
            status_provider=status_provider or SupervisorStatus(config),
            clock=time.monotonic,
        )
        self.traffic = Traffic(
            self._routes(sources),
            limits=self.limits,
            cors=Cors(config.gateway.cors_origins),
            metrics=self.metrics,
            clock=self._loop.time,
            listed=acceptor.ways.headers,
        )
        self._listener: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    def _routes(self, sources: Sources) -> Routes:
        desks = (self._ingest, self._consent, self._regulations, self._probes, sources)
        return Routes([route for desk in desks for route in desk.routes()])

    def _make_ingest(self, acceptor: Acceptor, keys: WriteKeys) -> Ingest:
        return Ingest(
            acceptor,
            keys,
            writer=self._writer,
            metrics=self.metrics,
            readiness=self.readiness,
            space=self._space,
            max_body_bytes=self.limits.max_body_bytes,
            clock=time.monotonic,
            collect=self._collecting.collect,
            taken=self._collecting.taken,
        )

    def _make_writer(
        self, open_log: Callable[[], EventLog], *, on_fatal: Callable[[LogError], None], clock: Callable[[], float]
    ) -> LoopCommit[Waiting]:
        return LoopCommit(
            open_log,
            on_committed=lambda done, n_left_out: self._ingest.committed(done, n_left_out),
            on_failed=lambda tokens, error: self._ingest.failed(tokens, error),
            on_fatal=on_fatal,
            bell=self._bell,
            clock=clock,
            on_gathered=lambda: self._ingest.bring_in(),
        )

    async def start(self, listen_socket: socket.socket) -> None:
        """Open the log, then accept connections on a bound socket; raises `LogError` when the log cannot be opened."""
        await self._writer.start()
        self._consent.start()
        self._collecting.start()
        self._listener = await self._loop.create_server(
            lambda: Connection(self.traffic), sock=listen_socket, backlog=BACKLOG
        )
        self._tick()

    def _tick(self) -> None:
        limits = self.limits
        times_s = limits.head_timeout_s, limits.body_grace_s, limits.linger_s, limits.keep_alive_s
        shortest = min(*times_s, limits.answer_timeout_s)
        # First: whatever fails below, there is another look.
        self._timer = self._loop.call_later(min(MAX_TICK_S, shortest / 4), self._tick)
        self.traffic.tick(self._loop.time())
        self._note_state()

    def _note_state(self) -> None:
        self.readiness.disk_has(self._space.problem(time.monotonic()))
        self.metrics.disk_free_bytes = self._space.free_bytes
        with suppress(OSError):  # the gateway may be out of file descriptors; the next tick knows
            self.metrics.suppressed = read_suppressed(self._data_dir.suppressed)
        if self._seen is not None:
            self.metrics.known_ids = self._seen.n_ids
            self.metrics.dedup_window_s = self._seen.covers_s

    async def stop(self) -> None:
        """Accept no more, answer the requests in hand within `drain_s`, store what waits, close the log."""
        self.readiness.draining = True
        if self._listener is not None:
            self._listener.close()
        idle = asyncio.Event()
        self.traffic.drain(idle.set)
        with suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), self.limits.drain_s)
        self._withdrawals.close()
        if not await self._collecting.close(CLOSE_TIMEOUT_S):
            log.error("the consent ledger did not take what events said in %.0f s", CLOSE_TIMEOUT_S)
        if not await self._writer.close(CLOSE_TIMEOUT_S):
            log.error("the event log did not finish its last commit in %.0f s", CLOSE_TIMEOUT_S)
        if not await self._consent.close(CLOSE_TIMEOUT_S):
            log.error("the consent ledger did not finish its last write in %.0f s", CLOSE_TIMEOUT_S)
        self._regulations.close()
        await asyncio.sleep(0)  # the last commit's answers
        self.traffic.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._probes.close()
        self._bell.close()


def _open_log(data_dir: DataDir, seen: SeenIds | None, clock: Callable[[], float]) -> SqliteLog:
    event_log = SqliteLog(data_dir.event_log, create=False, seen=seen)
    try:
        event_log.load_seen(now_ms=int(clock() * 1000))
    except BaseException:
        event_log.close()
        raise
    return event_log


def run(config: Config, *, listen_socket: socket.socket, control_fd: int, limits: Limits | None = None) -> int:
    """Be the gateway process until SIGTERM or until the launcher is gone; return the exit code.

    0 after an orderly end, 1 when the log cannot be opened or can no longer be trusted. Call it in a process of its
    own that has one thread. `control_fd` is the line to the launcher, see `ControlLine`; what is told: `{"listening":
    "HOST:PORT"}` once connections are accepted, `{"fatal": "..."}` before an exit with 1. `limits` are those of the
    configuration unless given.
    """
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the launcher decides
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(config, listen_socket, control_fd, limits or Limits.of(config.gateway)))


async def _main(config: Config, listen_socket: socket.socket, control_fd: int, limits: Limits) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[LogError | None] = loop.create_future()

    def end(error: LogError | None = None) -> None:
        if not ended.done():
            ended.set_result(error)

    loop.add_signal_handler(signal.SIGTERM, end)
    server = Server(config, limits=_within_descriptors(limits), on_fatal=end)
    control = ControlLine(control_fd, server.readiness, on_gone=end)
    try:
        await server.start(listen_socket)
    except (SluicegateError, OSError) as error:
        control.tell(fatal=str(error))
        log.critical("the gateway cannot start: %s", error)
        return 1
    host, port = listen_socket.getsockname()[:2]
    control.tell(listening=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    _calm_collector()
    failure = await ended
    if failure is not None:
        control.tell(fatal=str(failure))
        log.critical("the gateway ends: %s", failure)
    await server.stop()
    control.close()
    return 0 if failure is None else 1


def _calm_collector() -> None:
    gc.collect()
    gc.freeze()
    collect_seldom()


def _within_descriptors(limits: Limits) -> Limits:
    """Take as many descriptors as the system lets us, and no more connections than fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.max_connections + RESERVED_FDS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    n_free = soft - min(RESERVED_FDS, soft // 2)
    return replace(limits, max_connections=min(limits.max_connections, n_free))

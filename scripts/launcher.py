"""The process tree of a standalone system: starts its parts, watches them by pidfd, restarts or ends them."""

from __future__ import annotations

import hmac
import logging
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from setproctitle import setproctitle

from sluicegate.actors.keys import load_or_create_key
from sluicegate.actors.processes import processes
from sluicegate.actors.router import RouterActor
from sluicegate.actors.supervisor import SupervisorActor
from sluicegate.actors.system import RunningSystem, free_port, start
from sluicegate.config import Config
from sluicegate.config.secret import key_fingerprints
from sluicegate.errors import SluicegateError
from sluicegate.lock import DataDirLock
from sluicegate.logs import be_part
from sluicegate.memory import share_with_children
from sluicegate.messages.control import Configure, Done, Drain, Introduce
from sluicegate.paths import DataDir
from sluicegate.running import Running, write_running
from sluicegate.scripts.gateway_part import GatewayPart
from sluicegate.scripts.storage import prepare_directory, prepare_storage

log = logging.getLogger(__name__)

SHUTDOWN_S = 25.0
GATEWAY_STOP_S = 9.0  # it answers requests in hand for 3 s, and its last commit may take 5
LOCK_TIMEOUT_S = 1.0  # a predecessor that was killed may take a moment to be gone
MAX_RESTARTS = 5
CREATE_ATTEMPTS = 3  # just after an actor was killed, its name may still lead to the dead one
RESTART_WINDOW_S = 60.0


class PartFailed(SluicegateError):
    """A part of the system could not be started, or kept failing."""


@dataclass(slots=True)
class _Actor:
    """A top-level actor: its address and a pidfd of its process."""

    address: object
    pid: int
    pidfd: int


class Launcher:
    """Runs one system in the foreground; `run` returns the exit code."""

    def __init__(self, config: Config, *, on_ready: Callable[[str], None] = lambda url: None) -> None:
        self._config = config
        self._data_dir = DataDir(config.data_dir)
        self._on_ready = on_ready
        self._lock: DataDirLock | None = None
        self._system: RunningSystem | None = None
        self._router: _Actor | None = None
        self._supervisor: _Actor | None = None
        self._gateway: GatewayPart | None = None
        self._restarts: deque[float] = deque()
        self._stopping = False
        self._port = config.actor_port

    def run(self) -> int:
        """Start everything, watch it until a signal, end everything."""
        signals = self._catch_signals()
        setproctitle(f"sluicegate: launcher {self._data_dir.root}")
        be_part("launcher")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold keys and personal data
        try:
            self._start()
            self._watch(signals)
            return 0
        except PartFailed as error:
            log.error("%s", error)
            return 1
        finally:
            self._stop()

    # -- start ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        prepare_directory(self._data_dir)
        lock = DataDirLock(self._data_dir.lock)
        lock.acquire(timeout_s=LOCK_TIMEOUT_S)
        self._lock = lock
        prepare_storage(self._config, self._data_dir)
        self._gateway = GatewayPart(self._config, self._data_dir)
        share_with_children()
        self._start_actors()
        self._gateway.start()
        self._announce()

    def _start_actors(self) -> None:
        key = load_or_create_key(self._data_dir.actor_key)
        self._port = self._port or free_port()
        key_fingerprints(hmac.digest(key, b"fingerprints", "sha256"))
        log_path = self._data_dir.logs / "actors.log"
        self._system = start(port=self._port, key=key, log_path=log_path, log_style=self._config.logs)
        self._start_supervisor()
        self._start_router()

    def _start_supervisor(self) -> None:
        self._supervisor = self._create(SupervisorActor, "sluicegate.supervisor")
        self._introduce()

    def _start_router(self) -> None:
        self._router = self._create(RouterActor, "sluicegate.router")
        self._introduce()

    def _create(self, actor_class: type, name: str) -> _Actor:
        assert self._system is not None
        for _ in range(CREATE_ATTEMPTS):
            address = self._system.create(actor_class, global_name=name)
            request = Configure(uuid4().hex, self._config.encode())
            answer = self._system.ask(address, request, timeout_s=10.0)
            if isinstance(answer, Done):
                return _Actor(address, answer.pid, os.pidfd_open(answer.pid))
            if answer is not None:
                break
        raise PartFailed(f"{name} did not start: {answer!r}; see {self._data_dir.logs}")

    def _introduce(self) -> None:
        if self._system and self._router and self._supervisor:
            self._system.tell(self._router.address, Introduce(self._supervisor.address))

    def _announce(self) -> None:
        assert self._gateway is not None
        write_running(self._data_dir, Running(os.getpid(), self._gateway.listening, self._port))
        self._gateway.tell_ready(True)
        if self._gateway.wait_ready(timeout_s=10.0, stops=lambda: self._stopping):
            log.info("ready: http://%s (actors on port %d, data in %s)", *self._where())
            self._on_ready(f"http://{self._gateway.listening}")

    def _where(self) -> tuple[str, int, object]:
        assert self._gateway is not None
        return self._gateway.listening, self._port, self._data_dir.root

    # -- watch ------------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._signal_end = theirs
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        return ours

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _watch(self, signals: socket.socket) -> None:
        while not self._stopping:
            poller = select.poll()
            poller.register(signals, select.POLLIN)
            for fd in self._pidfds():
                poller.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poller.poll()}
            if not self._stopping:
                self._revive(ready)

    def _pidfds(self) -> list[int]:
        assert self._system and self._gateway and self._router and self._supervisor
        return [self._system.admin_pidfd, self._router.pidfd, self._supervisor.pidfd, self._gateway.pidfd]

    def _revive(self, ended: set[int]) -> None:
        """Start again whatever has ended; the actor system's admin takes all actors with it."""
        assert self._system and self._gateway and self._router and self._supervisor
        if self._system.admin_pidfd in ended:
            self._note_restart("the actor system's admin process")
            self._gateway.tell_ready(False, "the actor system restarts")
            self._restart_actors()
        elif self._supervisor.pidfd in ended:
            self._note_restart("the supervisor")
            self._gateway.tell_ready(False, "the supervisor restarts")
            self._replace(self._supervisor, self._start_supervisor)
        elif self._router.pidfd in ended:
            self._note_restart("the router")
            self._gateway.tell_ready(False, "the router restarts")
            self._replace(self._router, self._start_router)
        elif self._gateway.pidfd in ended:
            self._note_restart("the gateway")
            self._gateway.restart()
        self._gateway.tell_ready(True)
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        """Let go of dead processes that have become ours, as the reaper of all that is below."""
        assert self._gateway is not None
        for process in processes():
            if process.zombie and process.parent == os.getpid() and process.pid != self._gateway.pid:
                os.waitpid(process.pid, os.WNOHANG)

    def _replace(self, dead: _Actor, start_again: Callable[[], None]) -> None:
        try:
            start_again()
            os.close(dead.pidfd)
        except SluicegateError as error:
            log.warning("%s; restarting the whole actor system", error)
            self._restart_actors()

    def _restart_actors(self) -> None:
        assert self._system is not None
        self._system.stop(timeout_s=5.0)
        for gone in (self._router, self._supervisor):
            if gone is not None:
                os.close(gone.pidfd)
        self._router = self._supervisor = None
        self._start_actors()

    def _note_restart(self, part: str) -> None:
        now = time.monotonic()
        self._restarts.append(now)
        while self._restarts[0] < now - RESTART_WINDOW_S:
            self._restarts.popleft()
        log.warning("%s has ended unexpectedly; starting it again", part)
        if len(self._restarts) > MAX_RESTARTS:
            raise PartFailed(
                f"parts ended {len(self._restarts)} times within {RESTART_WINDOW_S:.0f} s, last {part};"
                f" giving up, see {self._data_dir.logs}"
            )

    # -- stop -------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """End every part within `SHUTDOWN_S`: first what accepts, then what delivers, then the actor system."""
        deadline = time.monotonic() + SHUTDOWN_S
        if self._gateway is not None:
            self._gateway.stop(timeout_s=GATEWAY_STOP_S)
        if self._system is not None:
            self._drain(deadline)
            self._system.stop(timeout_s=max(1.0, deadline - time.monotonic() - 1.0))
        if self._lock is not None:
            self._data_dir.running.unlink(missing_ok=True)
            self._lock.release()
        log.info("stopped")

    def _drain(self, deadline: float) -> None:
        if self._system is None or self._supervisor is None:
            return
        left_s = max(1.0, deadline - time.monotonic() - 6.0)
        answer = self._system.ask(self._supervisor.address, Drain(uuid4().hex, left_s), timeout_s=left_s + 1.0)
        if not isinstance(answer, Done):
            log.warning("destinations did not end in time; what they had not committed will be delivered again")

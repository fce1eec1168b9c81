"""The process tree of a standalone system: starts its parts, watches them, restarts or ends them.

The end of a part is seen by its pidfd; one that hangs, by questions that it does not answer.
"""

from __future__ import annotations

import contextlib
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
from thespian.system.messages.admin import QueryAck, QueryExists

from sluicegate.actors.keys import load_or_create_key
from sluicegate.actors.processes import reap_orphans
from sluicegate.actors.router import RouterActor
from sluicegate.actors.supervisor import SupervisorActor
from sluicegate.actors.system import RunningSystem, free_port, start
from sluicegate.config import Config
from sluicegate.config.secret import key_fingerprints
from sluicegate.errors import SluicegateError
from sluicegate.lock import DataDirLock
from sluicegate.logs import be_part
from sluicegate.memory import share_with_children
from sluicegate.messages.control import AreYouThere, Configure, Done, Drain, Introduce
from sluicegate.paths import DataDir
from sluicegate.running import Running, write_running
from sluicegate.scripts.checkup import ACTOR_PARTS, Checkup, Part
from sluicegate.scripts.gateway_part import GatewayPart
from sluicegate.scripts.interrupts import interrupting
from sluicegate.scripts.pulse import Patience
from sluicegate.scripts.storage import prepare_directory, prepare_storage

log = logging.getLogger(__name__)

READY_S = 10.0  # after which a system runs without being ready, if its gateway answers at all
SHUTDOWN_S = 25.0
GATEWAY_STOP_S = 9.0  # it answers requests in hand for 3 s, and its last commit may take 5
LOCK_TIMEOUT_S = 1.0  # a predecessor that was killed may take a moment to be gone
MAX_RESTARTS = 5
CREATE_ATTEMPTS = 3  # just after an actor was killed, its name may still lead to the dead one
RESTART_WINDOW_S = 60.0
PATIENCE = Patience()
COLLECT_S = 0.05  # actors answer in a few ms; whoever takes longer is looked at again with the next step
LAST_ANSWER_S = 5.0  # an actor that does not answer within it when all is to end is killed


class _StopAsked(Exception):
    """A signal came while something was being started."""


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

    def __init__(
        self,
        config: Config,
        *,
        on_ready: Callable[[str], None] = lambda url: None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._config = config
        self._data_dir = DataDir(config.data_dir)
        self._on_ready = on_ready
        self._lock: DataDirLock | None = None
        self._system: RunningSystem | None = None
        self._router: _Actor | None = None
        self._supervisor: _Actor | None = None
        self._gateway: GatewayPart | None = None
        self._restarts: deque[float] = deque()
        self._checkup = Checkup(patience, self._ask)
        self._down: dict[Part, float] = {}
        """Since when; the gateway is down until it answers."""
        self._killed: set[Part] = set()
        """Those whose process has been killed, and that have not been started again."""
        self._stopping = False
        self._port = config.actor_port

    def run(self) -> int:
        """Start everything, watch it until a signal, end everything."""
        self._signals = self._catch_signals()
        setproctitle(f"sluicegate: launcher {self._data_dir.root}")
        be_part("launcher")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold keys and personal data
        try:
            self._start()
            self._watch()
            return 0
        except _StopAsked:
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
        self._begun(Part.GATEWAY)
        self._announce()

    def _start_actors(self) -> None:
        key = load_or_create_key(self._data_dir.actor_key)
        self._port = self._port or free_port()
        key_fingerprints(hmac.digest(key, b"fingerprints", "sha256"))
        log_path = self._data_dir.logs / "actors.log"
        self._system = start(port=self._port, key=key, log_path=log_path, log_style=self._config.logs)
        self._system.interrupt_on(self._signals.fileno())
        self._start_supervisor()
        self._start_router()
        self._begun(*ACTOR_PARTS)

    def _start_supervisor(self) -> None:
        self._supervisor = self._create(SupervisorActor, "sluicegate.supervisor")
        self._introduce()

    def _start_router(self) -> None:
        self._router = self._create(RouterActor, "sluicegate.router")
        self._introduce()

    def _create(self, actor_class: type, name: str) -> _Actor:
        assert self._system is not None
        for _ in range(CREATE_ATTEMPTS):
            try:
                address = self._system.create(actor_class, global_name=name)
                request = Configure(uuid4().hex, self._config.encode())
                answer = self._system.ask(address, request, timeout_s=10.0)
            except SluicegateError:
                self._unless_stopping()
                raise
            self._unless_stopping()
            if isinstance(answer, Done):
                return _Actor(address, answer.pid, os.pidfd_open(answer.pid))
            if answer is not None:
                break
        raise PartFailed(f"{name} did not start: {answer!r}; see {self._data_dir.logs}")

    def _begun(self, *parts: Part) -> None:
        self._checkup.begin(*parts)
        self._killed.difference_update(parts)

    def _unless_stopping(self) -> None:
        if self._stopping:
            raise _StopAsked

    def _introduce(self) -> None:
        if self._system and self._router and self._supervisor:
            self._system.tell(self._router.address, Introduce(self._supervisor.address))

    def _announce(self) -> None:
        assert self._gateway is not None
        write_running(self._data_dir, Running(os.getpid(), self._gateway.listening, self._port))
        self._gateway.tell_ready(True)
        why_not = self._gateway.wait_ready(timeout_s=READY_S, stops=lambda: self._stopping)
        if why_not:
            log.warning("runs, not ready yet: http://%s (actors on port %d, data in %s): %s", *self._where(), why_not)
        elif why_not is not None:
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
        for number in interrupting():
            signal.signal(number, self._on_signal)
        return ours

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _watch(self) -> None:
        assert self._gateway is not None and self._system is not None
        while not self._stopping:
            ended = self._wait()
            if self._stopping:
                break
            if ended:
                self._revive(ended)
                self._checkup.skip()
            self._look_after()
            reap_orphans(spare=(self._gateway.pid, self._system.admin_pid))

    def _wait(self) -> set[int]:
        """The pidfds of parts that have ended, as soon as there are any, a signal, or something is to be asked."""
        poller = select.poll()
        poller.register(self._signals, select.POLLIN)
        pidfds = self._pidfds()
        for fd in pidfds.values():
            poller.register(fd, select.POLLIN)
        assert self._gateway is not None
        if self._gateway.control_fd >= 0:
            poller.register(self._gateway.control_fd, select.POLLIN)
        wait_s = self._checkup.wait_s()
        ready = {fd for fd, _ in poller.poll(wait_s * 1000)}
        self._checkup.waited(wait_s)
        return ready & set(pidfds.values())

    def _pidfds(self) -> dict[Part, int]:
        assert self._system and self._gateway and self._router and self._supervisor
        return {
            Part.ADMIN: self._system.admin_pidfd,
            Part.SUPERVISOR: self._supervisor.pidfd,
            Part.ROUTER: self._router.pidfd,
            Part.GATEWAY: self._gateway.pidfd,
        }

    # -- what hangs -------------------------------------------------------------------------------------------------

    def _ask(self, part: Part, question: str) -> None:
        assert self._system and self._gateway and self._router and self._supervisor
        match part:
            case Part.ADMIN:
                self._system.begin_ask(None, QueryExists())
            case Part.SUPERVISOR:
                self._system.begin_ask(self._supervisor.address, AreYouThere(question))
            case Part.ROUTER:
                self._system.begin_ask(self._router.address, AreYouThere(question))
            case Part.GATEWAY:
                self._gateway.ask(question)

    def _look_after(self) -> None:
        """Ask who is due, take the answers, and kill what has not answered for too long, so that it is revived."""
        self._checkup.ask_due()
        self._collect(COLLECT_S)
        for part, silent_s in self._checkup.hung().items():
            if part not in self._killed:
                log.error("%s has not answered for %.0f s; it is killed and started again", part, silent_s)
                self._killed.add(part)
                self._down.setdefault(part, time.monotonic())
                self._tell_ready()
                with contextlib.suppress(ProcessLookupError):  # it has just ended, and is revived all the same
                    signal.pidfd_send_signal(self._pidfds()[part], signal.SIGKILL)

    def _collect(self, timeout_s: float) -> None:
        """Take the answers that are there, and wait so long for those of actors."""
        assert self._system is not None and self._gateway is not None
        for question in self._gateway.answers():
            if self._checkup.answered(question) is Part.GATEWAY:
                self._recovered(Part.GATEWAY)

        def take(message: object) -> bool:
            if isinstance(message, QueryAck):
                self._checkup.heard_from(Part.ADMIN)
            elif isinstance(message, Done):
                self._checkup.answered(message.request_id)
            return not self._checkup.waiting_for(ACTOR_PARTS)

        if self._checkup.waiting_for(ACTOR_PARTS):
            self._system.take(take, timeout_s=timeout_s)

    def _recovered(self, *parts: Part) -> None:
        for part in parts:
            if (since := self._down.pop(part, None)) is not None:
                log.warning("recovered: %s answers again, after %.1f s", part, time.monotonic() - since)

    def _tell_ready(self) -> None:
        """Tell the gateway about the others."""
        assert self._gateway is not None
        down = [f"{part} restarts" for part in self._down if part is not Part.GATEWAY]
        self._gateway.tell_ready(not down, *down)

    # -- what has ended ---------------------------------------------------------------------------------------------

    def _revive(self, ended: set[int]) -> None:
        """Start again what has ended; the actor system's admin takes all actors with it, so it comes first."""
        part = next(part for part, pidfd in self._pidfds().items() if pidfd in ended)
        self._note_restart(part)
        self._tell_ready()
        match part:
            case Part.ADMIN:
                self._restart_actors()
            case Part.SUPERVISOR:
                self._replace(self._supervisor, self._start_supervisor)
            case Part.ROUTER:
                self._replace(self._router, self._start_router)
            case Part.GATEWAY:
                assert self._gateway is not None
                self._gateway.restart()
        self._begun(part)
        if part is not Part.GATEWAY:  # which is back when it answers
            self._recovered(part)
        self._tell_ready()

    def _replace(self, dead: _Actor | None, start_again: Callable[[], None]) -> None:
        assert dead is not None
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
        self._recovered(*ACTOR_PARTS)

    def _note_restart(self, part: Part) -> None:
        now = time.monotonic()
        self._restarts.append(now)
        while self._restarts[0] < now - RESTART_WINDOW_S:
            self._restarts.popleft()
        if part not in self._down:
            log.warning("%s has ended unexpectedly; starting it again", part)
            self._down[part] = now
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
            self._system.interrupt_on()
            self._kill_silent_actors()
            self._drain(deadline)
            self._system.stop(timeout_s=max(1.0, deadline - time.monotonic() - 1.0))
        if self._lock is not None:
            self._data_dir.running.unlink(missing_ok=True)
            self._lock.release()
        if self._system is not None:
            log.info("stopped")

    def _kill_silent_actors(self) -> None:
        """Spare the rest of the stop the wait for actors that would not answer."""
        if self._system is None or self._router is None or self._supervisor is None or self._gateway is None:
            return
        self._checkup.ask_all(ACTOR_PARTS)
        self._collect(LAST_ANSWER_S)
        for part in self._checkup.waiting_for(ACTOR_PARTS):
            log.warning("%s does not answer and is killed", part)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfds()[part], signal.SIGKILL)

    def _drain(self, deadline: float) -> None:
        if self._system is None or self._supervisor is None:
            return
        left_s = max(1.0, deadline - time.monotonic() - 6.0)
        answer = self._system.ask(self._supervisor.address, Drain(uuid4().hex, left_s), timeout_s=left_s + 1.0)
        if not isinstance(answer, Done):
            log.warning("destinations did not end in time; what they had not committed will be delivered again")

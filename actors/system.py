"""Starting the actor system, and ending it without leaving anything behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from thespian.actors import Actor, ActorAddress, ThespianGeneration
from thespian.system.messages.admin import PendingActor, PendingActorResponse, SystemShutdown, SystemShutdownCompleted
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.multiprocCommon import detach_child

from sluicegate.actors import processes
from sluicegate.actors.addresses import LOOPBACK
from sluicegate.actors.admin import run_admin
from sluicegate.actors.attached import AttachedSystem, attach
from sluicegate.actors.endpoint import Endpoint, Sending, Sent
from sluicegate.actors.logfile import LogFile, keep_thespians_log
from sluicegate.actors.transport import transport_class
from sluicegate.errors import NotRunning, SluicegateError
from sluicegate.logs import PLAIN, LogStyle

_START_TIMEOUT_S = 5.0
_CREATE_TIMEOUT_S = 10.0
_TELL_TIMEOUT_S = 5.0
_TERMINATE_SHARE = 0.15  # of the time to stop: between SIGTERM and SIGKILL
_KILL_TIMEOUT_S = 5.0
_TEST_PORTS = range(20_000, 32_000)  # below the range from which Linux takes the ports of outgoing connections

__all__ = ["AttachedSystem", "RunningSystem", "attach", "free_port", "start"]


class RunningSystem:
    """The actor system as seen by the process that started it; made by `start`, ended by `stop`."""

    def __init__(self, endpoint: Endpoint, admin: BaseProcess, *, port: int) -> None:
        assert admin.pid is not None
        self._endpoint = endpoint
        self._port = port
        self._stopped = False
        self.admin_pid = admin.pid
        """Pid of the root of all actors, which is also the id of their session."""
        self.admin_pidfd = os.pidfd_open(admin.pid)
        """Becomes readable when the admin process has ended, and all actors with it."""
        endpoint.transport.set_watch([self.admin_pidfd])

    @property
    def alive(self) -> bool:
        """False once the admin process has ended."""
        return not self._stopped and not processes.exited([self.admin_pidfd], timeout_s=0)

    def create(self, actor_class: type[Actor], *, global_name: str) -> ActorAddress:
        """Start an actor under a name by which other processes find it; the actor of that name if there is one.

        Raises `SluicegateError` when its class cannot be imported, `NotRunning` when the system has ended or does
        not answer in 10 s. An actor whose `__init__` raises looks started: ask it something.
        """
        name = f"{actor_class.__module__}.{actor_class.__qualname__}"
        request = PendingActor(name, None, 1, None, globalName=global_name)
        answer, _ = self._endpoint.exchange(request, PendingActorResponse, timeout_s=_CREATE_TIMEOUT_S)
        if answer is None:
            raise NotRunning(f"the actor system did not start {name}; its log may tell why")
        if answer.errorCode or not answer.actualAddress:
            raise SluicegateError(f"cannot start {name}: {answer.errorStr or hex(answer.errorCode)}")
        return answer.actualAddress

    def ask(self, address: ActorAddress, message: object, *, timeout_s: float) -> object | None:
        """The answer to a message; None when the actor or the system has ended, or does not answer in time.

        A message with a `request_id` is answered by the message with the same one. Raises `Refused` when the actor
        could not handle it.
        """
        return self._endpoint.ask(address, message, timeout_s=timeout_s) if self.alive else None

    def tell(self, address: ActorAddress, message: object) -> bool:
        """Send a message; True when the actor's process has taken it (within 5 s)."""
        if not self.alive:
            return False
        return self._endpoint.flush(self._endpoint.send(address, message), timeout_s=_TELL_TIMEOUT_S) is Sent.DONE

    def begin_ask(self, address: ActorAddress | None, message: object) -> None:
        """Send a message without waiting, to the admin process if no actor is named; `take` gets the answer."""
        if self.alive:
            self._endpoint.send(self._endpoint.admin if address is None else address, message)

    def take(self, enough: Callable[[object], bool], *, timeout_s: float) -> None:
        """Give what arrives to `enough` until it says so; what arrives during an `ask` is lost to it."""
        self._endpoint.receive(enough, Sending(self._endpoint.transport), timeout_s=timeout_s)

    def interrupt_on(self, *fds: int) -> None:
        """Have whatever waits for an answer end without one as soon as one of these is readable."""
        self._endpoint.transport.set_watch([self.admin_pidfd, *fds])

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End every process of the system: by request, then SIGTERM, then SIGKILL; may be called again.

        Returns when none is left and the port is free, at most about 5 s after the timeout; raises `SluicegateError`
        when a process cannot be killed. The admin process may have ended before; what it left behind is cleaned up.
        """
        if self._stopped:
            return
        deadline = time.monotonic() + timeout_s
        if self.alive:
            self._request_shutdown(timeout_s=timeout_s * (1 - _TERMINATE_SHARE))
        if self.alive:
            processes.signal_tree(self.admin_pid, signal.SIGTERM, spare=[self.admin_pid])
            processes.exited([self.admin_pidfd], timeout_s=deadline - time.monotonic())
        processes.signal_tree(self.admin_pid, signal.SIGKILL)
        if not processes.wait_for_tree(self.admin_pid, timeout_s=_KILL_TIMEOUT_S):
            raise SluicegateError(f"processes of the actor system cannot be killed (session {self.admin_pid})")
        self._stopped = True
        self._endpoint.close()
        os.close(self.admin_pidfd)
        _wait_until_free(self._port, timeout_s=_KILL_TIMEOUT_S)

    def _request_shutdown(self, *, timeout_s: float) -> None:
        """Ask all actors to end, and wait until the admin process has."""
        deadline = time.monotonic() + timeout_s
        self._endpoint.exchange(SystemShutdown(), SystemShutdownCompleted, timeout_s=timeout_s)
        processes.exited([self.admin_pidfd], timeout_s=deadline - time.monotonic())


def start(
    *,
    port: int,
    key: bytes,
    log_path: Path,
    log_style: LogStyle = PLAIN,
    keep_stdout: bool = False,
) -> RunningSystem:
    """Start the actor system; for the main thread of a process with one thread, which must outlive it.

    Every process of the system ends with this one, within milliseconds and whatever ends it. `log_path` takes what
    actors log, in this style, and a file beside it, `NAME.thespian`, what Thespian says about itself; both have mode
    0600. The standard files of the actors are /dev/null and the log, except for stdout when it is kept.

    This process becomes the reaper of orphans below it. Raises `SluicegateError` when the port is taken, or the
    system does not come up within 5 s.
    """
    if threading.current_thread() is not threading.main_thread():
        raise SluicegateError("the actor system can be started from the main thread only")
    os.environ["THESPIAN_BASE_IPADDR"] = LOOPBACK
    _refuse_taken(port)
    keep_thespians_log(log_path.with_name(log_path.name + ".thespian"))
    log = LogFile(log_path, log_style)
    processes.set_subreaper()
    endpoint = Endpoint(transport_class(key, log), port=port)
    try:
        admin = _fork_admin(endpoint, log, keep_stdout=keep_stdout)
        system = RunningSystem(endpoint, admin, port=port)
    except BaseException:
        endpoint.close()
        raise
    started = endpoint.receive(
        lambda message: isinstance(message, EndpointConnected),
        Sending(endpoint.transport),
        timeout_s=_START_TIMEOUT_S,
    )
    if started is None:
        system.stop(timeout_s=0)
        raise SluicegateError(f"the actor system did not come up on port {port}; {log_path} may tell why")
    return system


def free_port() -> int:
    """A port that nobody listens on now, for tests."""
    while True:
        port = random.choice(_TEST_PORTS)
        if _is_free(port):
            return port


def _fork_admin(endpoint: Endpoint, log: LogFile, *, keep_stdout: bool) -> BaseProcess:
    """The admin process, on its way up; it reports to the endpoint when it is."""
    context = get_context("fork")
    endpoint.capabilities |= _capabilities()
    transport = endpoint.transport
    admin = context.Process(
        target=run_admin,
        name="SluicegateAdmin",
        args=(transport.prepEndpoint(endpoint.admin, {}), transport.myAddress, type(transport)),
        kwargs={
            "capabilities": endpoint.capabilities,
            "context": context,
            "log": log,
            "keep_stdout": keep_stdout,
        },
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    admin.start()
    detach_child(admin)
    return admin


def _capabilities() -> dict[str, Any]:
    """What Thespian's bases tell about themselves."""
    return {
        "Thespian ActorSystem Name": "sluicegate",
        "Thespian ActorSystem Version": 2,
        "Thespian Watch Supported": True,
        "Thespian Generation": ThespianGeneration,
        "Thespian Version": str(int(time.time() * 1000)),
        "Python Version": tuple(sys.version_info),
        "Process Startup Method": "fork",
    }


def _refuse_taken(port: int) -> None:
    """Raise a clear error when the port is not free."""
    if not _is_free(port):
        raise SluicegateError(f"port {port} is taken: another system may run there; choose another with --port")


def _is_free(port: int) -> bool:
    """True when we could listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _wait_until_free(port: int, *, timeout_s: float) -> None:
    """Wait for the kernel to close the sockets of a killed process."""
    deadline = time.monotonic() + timeout_s
    while not _is_free(port):
        if time.monotonic() >= deadline:
            raise SluicegateError(f"port {port} is still taken by another process")
        time.sleep(0.005)

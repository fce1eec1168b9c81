"""The admin process: Thespian's root of all actors, started and hardened our way."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path
from typing import Any

from setproctitle import setproctitle
from thespian.system import multiprocCommon
from thespian.system.addressManager import ActorLocalAddress
from thespian.system.messages.admin import PendingActorResponse
from thespian.system.multiprocCommon import MultiProcAdmin

from sluicegate.actors import processes
from sluicegate.actors.logfile import LogFile
from sluicegate.actors.transport import Endpoint, Transport
from sluicegate.logs import be_part

MAX_DESCRIPTORS = 65_536
_SIGNALS_OF_A_LAUNCHER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


class Admin(MultiProcAdmin):
    """Thespian's admin without the two defects that make it die with its logger and block names for ever."""

    def __init__(self, transport: Transport, address: Any, capabilities: Any, log_defs: Any, context: Any) -> None:
        super().__init__(transport, address, capabilities, log_defs, context)
        self.logDefs = log_defs  # the name that `childDied` looks for to restart the logger; it is set as `logdefs`

    def h_LoggerConnected(self, envelope: Any) -> bool:
        """The logger is up; only the first one completes the start of the system."""
        if not hasattr(self, "oldLoggerRoot"):
            done: bool = super().h_LoggerConnected(envelope)
            return done
        self.asLogger = envelope.sender
        self._activate()
        return True

    def h_ChildActorExited(self, envelope: Any) -> Any:
        """A child has ended; whoever waits for one that has not even reported is told."""
        details = envelope.message.childAddress.addressDetails
        if isinstance(details, ActorLocalAddress) and not self.isShuttingDown():
            for request in list(self._pendingChildren.get(details.addressInstanceNum, ())):
                self._sendPendingActorResponse(
                    request, None, PendingActorResponse.ERROR_Invalid_ActorClass, "its process ended while starting"
                )
        return super().h_ChildActorExited(envelope)

    def _sendPendingActorResponse(
        self, request: Any, address: Any, errorCode: Any = None, errorStr: Any = None
    ) -> None:
        """Answer a request for an actor; one that failed must not keep its global name reserved."""
        super()._sendPendingActorResponse(request, address, errorCode, errorStr)
        if errorCode and not self.isShuttingDown():
            for child in [c for c, waiting in self._pendingChildren.items() if request in waiting]:
                del self._pendingChildren[child]


def run_admin(
    endpoint: Endpoint,
    starter: Any,
    transport_class: type[Transport],
    *,
    capabilities: dict[str, Any],
    context: Any,
    log: LogFile,
    keep_stdout: bool,
) -> None:
    """The admin process from fork to end; takes the place of Thespian's `startAdmin`.

    That one forks twice to become a daemon, which hides the process from its launcher. Ours stays a child, leads a
    session of its own by which its whole tree can be found, and ends with the launcher.
    """
    setproctitle("sluicegate: actor system")
    be_part("actors")
    os.setsid()
    _reset_signals()
    _set_limits()
    processes.redirect_standard_files(Path(log.baseFilename), keep_stdout=keep_stdout)
    transport = transport_class(endpoint)
    log.take_over()
    admin = Admin(transport, transport.myAddress, capabilities, None, context)
    admin.addrOfStarter = starter
    signal.signal(signal.SIGCHLD, admin.signalChildDied)
    multiprocCommon._startLogger(transport_class, transport, admin, capabilities, None, context)
    admin.run()


def _reset_signals() -> None:
    """Forget what the launcher does on signals; its handlers, mask and wake-up descriptor came with the fork."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for signum in _SIGNALS_OF_A_LAUNCHER:
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _set_limits() -> None:
    """No core dumps, which would hold personal data, and as many descriptors as allowed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

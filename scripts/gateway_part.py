"""The gateway as the launcher sees it: a forked process, a listening socket that outlives it, a control socket."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable

from setproctitle import setproctitle

from sluicegate.actors.processes import die_with_parent, exited, release_inherited_sockets
from sluicegate.config import Config
from sluicegate.errors import SluicegateError
from sluicegate.gateway.server import run
from sluicegate.logs import be_part
from sluicegate.paths import DataDir
from sluicegate.scripts.interrupts import interrupting

log = logging.getLogger(__name__)

ASK_S = 1.0
"""How long a gateway may take to answer whether it is ready, and so at most until a wish to stop is heard meanwhile."""
MAX_READ_BYTES = 64 * 1024


class GatewayPart:
    """Forks the gateway and talks to it in lines of JSON.

    The listening socket belongs to the launcher, so that a restarting gateway refuses nobody: connections wait.
    """

    def __init__(self, config: Config, data_dir: DataDir) -> None:
        self._config = config
        self._data_dir = data_dir
        self._socket = _listen(config.gateway.host, config.gateway.port)
        host, port = self._socket.getsockname()[:2]
        self.listening = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._control: socket.socket | None = None
        self._heard = b""
        self.pid = 0
        self.pidfd = -1
        self.control_fd = -1
        """Readable when `answers` has something; -1 when nobody writes to it."""

    def start(self) -> None:
        """Fork the gateway process; the launcher must be single-threaded."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        # The child has our handlers at first, which would take a signal that is meant to end it for one to us.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, interrupting())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._become_gateway(parent, theirs, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._control, self._heard = ours, b""
        self.control_fd = ours.fileno()
        self.pidfd = os.pidfd_open(self.pid)

    def _become_gateway(self, parent: int, control: socket.socket, mask: Iterable[int]) -> None:
        code = 1
        try:
            die_with_parent(parent)
            setproctitle(f"sluicegate: gateway {self.listening}")
            be_part("gateway")
            signal.set_wakeup_fd(-1)
            for number in interrupting():
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            release_inherited_sockets(spare=[self._socket.fileno(), control.fileno()])
            code = run(self._config, listen_socket=self._socket, control_fd=control.fileno())
        except BaseException:
            log.exception("the gateway ended with an error")
        finally:
            os._exit(code)

    def restart(self) -> None:
        """Fork it again after it has ended."""
        self._reap()
        self.start()

    def tell_ready(self, ready: bool, *reasons: str) -> None:
        """Tell the gateway what `/ready` is to answer; a dead gateway is noticed elsewhere."""
        self._tell(ready=ready, reasons=list(reasons))

    def ask(self, question: str) -> None:
        """Ask whether it runs; `answers` has the answer."""
        self._tell(ask=question)

    def answers(self) -> list[str]:
        """The questions that it has answered since the last look."""
        while self._control is not None and self.control_fd >= 0:
            try:
                data = self._control.recv(MAX_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.control_fd = -1
            self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        return [str(told["answer"]) for told in map(json.loads, lines) if "answer" in told]

    def _tell(self, **what: object) -> None:
        """Send one line, unless the gateway has stopped reading: it must not stop us too."""
        if self._control is None:
            return
        try:
            self._control.send(json.dumps(what).encode() + b"\n", socket.MSG_DONTWAIT)
        except OSError as error:
            log.debug("the gateway does not listen: %s", error)

    def wait_ready(self, *, timeout_s: float, stops: Callable[[], bool]) -> str | None:
        """Wait for `/ready` to be 200, no longer than this; why it is not, empty if it is, None when `stops` says so.

        Raises when nothing is answered at all. With reasons to take no events, such as a full disk, a system runs all
        the same: it has events to deliver, and makes room by that.
        """
        deadline = time.monotonic() + timeout_s
        why_not: str | None = None
        error: Exception | str = "nothing"
        while time.monotonic() < deadline and not exited([self.pidfd], timeout_s=0):
            try:
                why_not = self._why_not_ready(min(ASK_S, deadline - time.monotonic()))
            except (OSError, http.client.HTTPException) as failed:
                error = failed
            if why_not == "":
                return why_not
            if stops():
                return None
            exited([self.pidfd], timeout_s=0.02)
        if why_not is None or exited([self.pidfd], timeout_s=0):
            raise SluicegateError(f"the gateway on {self.listening} did not get ready: /ready said {why_not or error}")
        return why_not

    def _why_not_ready(self, timeout_s: float) -> str:
        connection = http.client.HTTPConnection(self.listening, timeout=timeout_s)
        try:
            connection.request("GET", "/ready")
            response = connection.getresponse()
            body = response.read()
            return "" if response.status == 200 else str(json.loads(body)["message"])
        finally:
            connection.close()

    def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, a while to finish requests in flight, SIGKILL; then close the listening socket."""
        self._socket.close()
        if self.pidfd < 0:
            return
        signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
        if not exited([self.pidfd], timeout_s=timeout_s):
            log.warning("the gateway did not end in %.0f s and is killed", timeout_s)
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pidfd = -1
        if self._control is not None:
            self._control.close()
            self._control, self.control_fd = None, -1


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SluicegateError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address with --listen HOST:PORT"
        ) from error
    listener.listen(1024)
    return listener

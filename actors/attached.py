"""Joining a running actor system from another process."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from thespian.actors import ActorAddress

from sluicegate.actors.addresses import LOOPBACK
from sluicegate.actors.endpoint import Endpoint, Sent
from sluicegate.actors.logfile import silence_thespians_log
from sluicegate.actors.transport import transport_class
from sluicegate.errors import NotRunning

_CONNECT_TIMEOUT_S = 1.0
_GREETING_TIMEOUT_S = 2.0
_FIND_TIMEOUT_S = 2.0
_TELL_TIMEOUT_S = 5.0


class AttachedSystem:
    """A running actor system as seen from another process; made by `attach`, a context manager.

    For one thread at a time: a thread of its own takes an AttachedSystem of its own. Any number of them may exist in
    a process.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def find(self, global_name: str) -> ActorAddress | None:
        """The actor with this global name, or None. Ask again after a restart: addresses are not kept."""
        return self._endpoint.find(global_name, timeout_s=_FIND_TIMEOUT_S)

    def ask(self, address: ActorAddress, message: object, *, timeout_s: float) -> object | None:
        """The answer to a message; None when the actor has ended or does not answer in time.

        A message with a `request_id` is answered by the message with the same one; late answers to earlier
        questions are dropped. Without it the first message that arrives is taken for the answer. Raises `Refused`
        when the actor could not handle the message.
        """
        return self._endpoint.ask(address, message, timeout_s=timeout_s)

    def tell(self, address: ActorAddress, message: object) -> bool:
        """Send a message; True when the actor's process has taken it (within 5 s)."""
        sending = self._endpoint.send(address, message)
        return self._endpoint.flush(sending, timeout_s=_TELL_TIMEOUT_S) is Sent.DONE

    def close(self) -> None:
        """Leave the system."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(*, port: int, key: bytes) -> AttachedSystem:
    """Join the system at this port of this machine, never start one; raises `NotRunning` within 3 s.

    The text of the error tells whether nobody listens, the system has another key, or does not answer.
    """
    silence_thespians_log()
    try:
        socket.create_connection((LOOPBACK, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        raise NotRunning(f"nothing listens on {LOOPBACK}:{port}: start it with `sluicegate serve`") from None
    endpoint = Endpoint(transport_class(key, None), port=port)
    outcome = endpoint.greet(timeout_s=_GREETING_TIMEOUT_S)
    if outcome is Sent.DONE:
        return AttachedSystem(endpoint)
    endpoint.close()
    if outcome is Sent.REFUSED:
        raise NotRunning(f"the system on port {port} has another key: is it that of another data directory?")
    raise NotRunning(f"what listens on {LOOPBACK}:{port} does not answer as a Sluicegate system")

"""One process outside the actor system that talks to actors."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from multiprocessing import get_context
from typing import Any

from thespian.actors import ActorAddress, ActorSystemMessage, PoisonMessage, WatchMessage
from thespian.system.messages.admin import QueryAck, QueryExists
from thespian.system.messages.status import Thespian_StatusReq, Thespian_SystemStatus
from thespian.system.transport import (
    ExternalInterfaceTransportInit,
    ReceiveEnvelope,
    SendStatus,
    TransmitIntent,
    TransmitOnly,
)

from sluicegate.actors.addresses import address_of
from sluicegate.actors.transport import Transport, cheap_names
from sluicegate.errors import Refused


class Sent(Enum):
    """How the sending of a message ended."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "nobody listens there"
    REFUSED = "the receiver does not accept our key"
    FAILED = "failed"


class Sending:
    """Follows one message until the receiver has acknowledged it or the transport has given up."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.outcome = Sent.PENDING

    def succeeded(self, _result: object, _intent: object) -> None:
        """The receiver has the message."""
        self.outcome = Sent.DONE

    def failed(self, result: object, _intent: object) -> None:
        """The transport gave up; ends the wait for an answer."""
        if result is SendStatus.DeadTarget:
            self.outcome = Sent.DEAD
        else:
            self.outcome = Sent.REFUSED if result is SendStatus.BadPacket else Sent.FAILED
        self._transport.abort_run()


class Endpoint:
    """Sends messages, waits for answers. For one thread at a time; has a port of its own until `close`."""

    def __init__(self, transport_class: type[Transport], *, port: int) -> None:
        cheap_names()
        self.capabilities: dict[str, Any] = {"Admin Port": port}
        self.transport = transport_class(ExternalInterfaceTransportInit(), self.capabilities, None, get_context("fork"))
        self.admin = address_of(port)

    def send(self, address: ActorAddress, message: object) -> Sending:
        """Start sending; `receive` or `flush` carries on with it."""
        sending = Sending(self.transport)
        intent = TransmitIntent(address, message, onSuccess=sending.succeeded, onError=sending.failed)
        self.transport.scheduleTransmit(None, intent)
        return sending

    def flush(self, sending: Sending, *, timeout_s: float) -> Sent:
        """Wait until the message has been acknowledged or has failed."""
        deadline = time.monotonic() + timeout_s
        while sending.outcome is Sent.PENDING and (left := deadline - time.monotonic()) > 0:
            self.transport.run(TransmitOnly, left)
        return sending.outcome

    def receive(self, wanted: Callable[[object], bool], sending: Sending, *, timeout_s: float) -> object | None:
        """The first message that is wanted; drops others. None when sending failed, time is up, or a watch fired."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 and sending.outcome in (Sent.PENDING, Sent.DONE):
            envelope = self.transport.run(None, left)
            if not isinstance(envelope, ReceiveEnvelope):
                continue
            if isinstance(envelope.message, WatchMessage):
                return None
            if wanted(envelope.message):
                message: object = envelope.message
                return message
        return None

    def ask(self, address: ActorAddress, message: object, *, timeout_s: float) -> object | None:
        """The answer to a message, or None; one with a `request_id` is answered by a message with the same one.

        Raises `Refused` when the actor could not handle it.
        """
        request_id = getattr(message, "request_id", None)

        def is_answer(answer: object) -> bool:
            if isinstance(answer, PoisonMessage):
                poison = answer.poisonMessage
                return type(poison) is type(message) and bool(getattr(poison, "request_id", None) == request_id)
            if request_id is not None:
                return bool(getattr(answer, "request_id", None) == request_id)
            return isinstance(answer, Thespian_SystemStatus) or not isinstance(answer, ActorSystemMessage)

        answer = self.receive(is_answer, self.send(address, message), timeout_s=timeout_s)
        if isinstance(answer, PoisonMessage):
            raise Refused(f"the actor could not handle {type(message).__name__}")
        return answer

    def exchange(self, message: object, answer_type: type, *, timeout_s: float) -> tuple[Any, Sent]:
        """Ask the admin process something in Thespian's own messages; the answer or None, and how sending ended."""
        sending = self.send(self.admin, message)
        answer = self.receive(lambda m: isinstance(m, answer_type), sending, timeout_s=timeout_s)
        return answer, sending.outcome

    def greet(self, *, timeout_s: float) -> Sent:
        """Whether the admin process answers us: DONE when it does, else why not."""
        answer, outcome = self.exchange(QueryExists(), QueryAck, timeout_s=timeout_s)
        if answer is not None:
            return Sent.FAILED if answer.inShutdown else Sent.DONE
        return Sent.FAILED if outcome is Sent.DONE else outcome

    def find(self, global_name: str, *, timeout_s: float) -> ActorAddress | None:
        """The actor with this global name; None when there is none, or the admin process does not answer."""
        status, _ = self.exchange(Thespian_StatusReq(), Thespian_SystemStatus, timeout_s=timeout_s)
        return status.globalActors.get(global_name) if status is not None else None

    def close(self) -> None:
        """Close the port; answers that are still under way are lost."""
        self.transport.close()

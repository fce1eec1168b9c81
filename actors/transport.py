"""Thespian's TCP transport, hardened: loopback only, signed, bounded, in order, nothing inherited.

What each override replaces and why is told in docs/actor-base.md. `pinned.py` lists the replaced code with its hash.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from datetime import timedelta
from typing import Any, ClassVar

from thespian.actors import ActorAddress
from thespian.system.timing import ExpirationTimer
from thespian.system.transport import (
    ExternalInterfaceTransportInit,
    ReceiveEnvelope,
    SendStatus,
    Thespian__UpdateWork,
    TransmitIntent,
)
from thespian.system.transport.IPBase import IPActorAddress, TCPv4ActorAddress
from thespian.system.transport.TCPTransport import (
    ExternalTransportCopy,
    TCPEndpoint,
    TCPIncoming_Common,
    TCPTransport,
)

from sluicegate.actors import processes
from sluicegate.actors.frames import FrameBuffer, frame
from sluicegate.actors.outbox import Outbox
from sluicegate.actors.signing import Envelope

LOOPBACK = "127.0.0.1"
MAX_ON_THE_WAY = 100  # messages of one process that are sent and not acknowledged, one for each receiver
MAX_WAITING = 100_000  # messages of one process that wait behind them; more are refused at once
MAX_INCOMING = 512  # half-received messages; the oldest gives way
INCOMING_PERIOD_S = 30.0  # for one message to arrive completely: over loopback it takes milliseconds
RETRY_PERIOD = timedelta(seconds=1)  # and n times that after the nth failure; Thespian waits 35 s
_SWEEP_PERIOD_S = 1.0
_BACKLOG = 100  # connections that wait for accept; with 1024 a flood of 1000 kept an actor busy for 5 s
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class Endpoint(TCPEndpoint):
    """What a new process needs to know to join; made by its parent before the fork."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made_by = os.getpid()


class Incoming(TCPIncoming_Common):
    """A connection to us that is to bring one message."""

    def __init__(self, sock: socket.socket, buffer: FrameBuffer) -> None:
        super().__init__(ActorAddress(None), sock, buffer)
        self._expires = ExpirationTimer(INCOMING_PERIOD_S)


def address_of(port: int) -> ActorAddress:
    """The address of the actor that listens on this port of this machine."""
    return ActorAddress(TCPv4ActorAddress(LOOPBACK, port, external=True))


def port_of(address: ActorAddress) -> int:
    """The port behind a usable address."""
    port: int = address.addressDetails.sockname[1]
    return port


class Transport(TCPTransport):
    """Base of the transport class of one actor system; `transport_class` binds it to a key and a log."""

    envelope: ClassVar[Envelope]
    log: ClassVar[logging.Handler | None]

    # Starting and ending

    def __init__(self, init: object, *args: Any) -> None:
        super(TCPTransport, self).__init__()
        self.txOnly = False
        self._parentAddr = None
        port = 0
        if isinstance(init, Endpoint):
            processes.die_with_parent(init.made_by)
            processes.release_inherited_sockets()
            _, assigned, self._parentAddr, self._adminAddr = init.args[:4]
            port = port_of(assigned) if assigned else 0
        elif isinstance(init, ExternalInterfaceTransportInit):
            self._adminAddr = self.getAdminAddr(args[0])
        elif isinstance(init, ExternalTransportCopy):
            self._adminAddr = args[0]
        else:
            raise TypeError(f"a transport cannot start from {type(init).__name__}")
        self._listen(port)
        self._forget_everything()

    def _listen(self, port: int) -> None:
        """Open the one socket that takes messages; raises OSError when the port is taken."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setblocking(False)
        self.socket.bind((LOOPBACK, port))
        self.socket.listen(_BACKLOG)
        self.myAddress = address_of(self.socket.getsockname()[1])
        self._owner = os.getpid()

    def _forget_everything(self) -> None:
        """The state that Thespian's own `__init__` sets up, without `_openSockets`: none are kept for reuse."""
        self._transmitIntents: dict[int, Any] = {}
        self._waitingTransmits: list[Any] = []
        self._incomingSockets: dict[int, Any] = {}
        self._incomingEnvelopes: list[Any] = []
        self._finished_intents: list[Any] = []
        self._watches: list[int] = []
        self._checkChildren = False
        self._shutdownSignalled = False
        self._outbox: Outbox[Any] = Outbox()
        self._next_sweep = 0.0
        self._runner: int | None = None

    def close(self) -> None:
        """Close every socket, in the process that opened them only: a shutdown would reach the parent's too."""
        if getattr(self, "_owner", None) != os.getpid():
            return
        self._owner = None
        for intent in [*self._transmitIntents.values(), *self._waitingTransmits]:
            if hasattr(intent, "socket"):
                intent.socket.close()
        for incoming in self._incomingSockets.values():
            incoming.close()
        self._forget_everything()
        self.socket.close()

    def external_transport_clone(self) -> Transport:
        """Another endpoint for the same process outside the system."""
        return type(self)(ExternalTransportCopy(), self._adminAddr)

    @staticmethod
    def getAdminAddr(capabilities: dict[str, Any]) -> ActorAddress:
        """The address of the admin process: the configured port of this machine."""
        return address_of(capabilities["Admin Port"])

    @staticmethod
    def getConventionAddress(capabilities: dict[str, Any]) -> None:
        """None: systems on several machines are not joined."""

    def prepEndpoint(self, assigned: ActorAddress, capabilities: dict[str, Any]) -> Endpoint:
        """What a new child process is to know; the admin's address is given, others are found by the kernel."""
        details = assigned.addressDetails
        if isinstance(details, IPActorAddress):
            return Endpoint(None, assigned, self.myAddress, self._adminAddr, False, False)
        return Endpoint(details.addressInstanceNum, None, self.myAddress, self._adminAddr, False, False)

    def childResetFileNumList(self) -> list[int]:
        """Nothing: the child releases all sockets itself, without freeing their numbers."""
        return []

    def run(self, handler: Any, maximum_duration: Any = None) -> Any:
        """Receive and send until the handler, the time, or an event ends it."""
        self._runner = threading.get_ident()
        return super().run(handler, maximum_duration)

    # Sending

    def serializer(self, intent: Any) -> bytes:
        """The signed frame of a message."""
        return frame(self.envelope.seal((self.myAddress, intent.message)))

    def scheduleTransmit(self, address_manager: Any, intent: Any, has_exclusive_flag: bool = False) -> None:
        """Take a message for sending; a log record is written to the log at once instead."""
        if isinstance(intent.message, logging.LogRecord):
            if self.log is not None:
                self.log.handle(intent.message)
            intent.tx_done(SendStatus.Sent)
            return
        super().scheduleTransmit(address_manager, intent, has_exclusive_flag)

    def _canSendNow(self) -> bool:
        return self._outbox.ready and self._aTB_numPendingTransmits < MAX_ON_THE_WAY

    def _qtx(self, intent: Any) -> bool:
        with self._aTB_lock:
            if len(self._outbox) >= MAX_WAITING:
                return False
            intent.receiver_port = port_of(intent.targetAddr)
            self._outbox.put(intent.receiver_port, intent)
            return True

    def _complete_expired_intents(self) -> tuple[int, bool]:
        """Fail what has waited too long; looks once a second, and at the oldest of each receiver only."""
        now = time.monotonic()
        with self._aTB_lock:
            if now < self._next_sweep:
                return len(self._outbox), False
            self._next_sweep = now + _SWEEP_PERIOD_S
            gone = self._outbox.expire(lambda intent: intent.expired())
        for intent in gone:
            intent.tx_done(SendStatus.Failed)
        return len(self._outbox), False

    def _drain_tx_queue_if_needed(self, max_delay: object = None) -> None:
        """Never: a transport that only sends stops accepting, and two of them wait for each other for ever."""

    def _schedulePreparedIntent(self, intent: Any, has_exclusive_flag: bool = False) -> None:
        if isinstance(intent.message, Thespian__UpdateWork):
            intent.tx_done(SendStatus.Sent)
        elif not self._queue_tx(intent):
            return
        while self._canSendNow() and self._runQueued(has_exclusive_flag):
            pass
        if self._runner not in (None, threading.get_ident()):
            self.interrupt_wait()  # that thread may sleep in a select that does not know of the new socket

    def _runQueued(self, has_exclusive_flag: bool = False) -> bool:
        """Start sending the next message; False when there is none, or another thread is at it."""
        self._complete_expired_intents()
        while True:
            with self._aTB_lock:
                if has_exclusive_flag or not self._aTB_processing:
                    intent = None if self._aTB_sending else self._outbox.take()
                    if intent is None:
                        return False
                    self._aTB_processing = self._aTB_sending = True
                    break
            time.sleep(0.00001)
        try:
            self._submitTransmit(intent, has_exclusive_flag)
        finally:
            self._aTB_sending = False
            self._aTB_processing = has_exclusive_flag
        return True

    def _submitTransmit(self, intent: Any, has_exclusive_flag: bool = False) -> None:
        self._aTB_numPendingTransmits += 1
        intent.transmit_retry_period = RETRY_PERIOD
        intent.addCallback(self._async_txdone, self._async_txdone)
        self._scheduleTransmitActual(intent, has_exclusive_flag=has_exclusive_flag)

    def _async_txdone(self, _result: object, intent: Any) -> None:
        self._aTB_numPendingTransmits -= 1
        with self._aTB_lock:
            self._outbox.done(intent.receiver_port)
        while self._canSendNow() and self._runQueued():
            pass

    def _nextTransmitStep(self, intent: Any) -> bool:
        """The next step of sending; an error ends the message instead of losing its place for ever."""
        try:
            again: bool = getattr(self, f"_next_XMIT_{intent.stage}")(intent)
        except Exception:
            logging.getLogger(__name__).warning("sending failed", exc_info=True)
            again = self._finishIntent(intent, SendStatus.Failed)
        return again

    def _next_XMIT_3(self, intent: Any) -> bool:
        intent.ackbuf = FrameBuffer()
        intent.stage = self._XMITStepWaitForAck
        return True

    def _check_XMIT_4_done(self, intent: Any, received: bytes) -> bool:
        intent.ackbuf.addMore(received)
        if not intent.ackbuf.isDone():
            return True
        answer, _ = intent.ackbuf.completed()
        intent.result = SendStatus.Sent if self.envelope.is_ack(answer) else SendStatus.BadPacket
        intent.stage = self._XMITStepFinishCleanup
        return self._nextTransmitStep(intent)

    def _updateStatusResponse(self, response: Any) -> None:
        super()._updateStatusResponse(response)
        for intent in self._outbox:
            response.addPendingMessage(self.myAddress, intent.targetAddr, type(intent.message).__name__)

    # Receiving

    def _acceptNewIncoming(self) -> None:
        try:
            connection, _peer = self.socket.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._drop_oldest_incoming()
            connection = None
        self._check_indicators()
        if connection is None:
            return
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._incomingSockets) >= MAX_INCOMING:
            self._drop_oldest_incoming()
        self._incomingSockets[connection.fileno()] = Incoming(connection, FrameBuffer(self.envelope.open))

    def _drop_oldest_incoming(self) -> None:
        """Make room: a message in parts is older than a whole one, which is taken as soon as it is there."""
        if self._incomingSockets:
            self._incomingSockets.pop(next(iter(self._incomingSockets))).close()

    def _addedDataToIncoming(self, incoming: Any, skipFinish: bool = False, has_exclusive_flag: bool = False) -> Any:
        """Verify, unpickle, answer and hand on a message that is complete; drop what is not one of ours."""
        if not incoming.receivedAllData():
            return incoming
        try:
            (sender, message), _ = incoming.data
            if not isinstance(sender.addressDetails, IPActorAddress):
                raise TypeError("a message without its sender's address")
        except Exception as error:
            logging.getLogger(__name__).warning("refused a message: %s", type(error).__name__)
            _answer(incoming.socket, self.envelope.refusal)
        else:
            _answer(incoming.socket, self.envelope.ack)
            envelope = ReceiveEnvelope(sender, message)
            self._processReceivedEnvelope(envelope, has_exclusive_flag=has_exclusive_flag)
        incoming.close()
        return None


def _answer(connection: socket.socket, answer: bytes) -> None:
    """Tell the sender; one that is gone will find out by itself."""
    with contextlib.suppress(OSError):
        connection.send(frame(answer))


def transport_class(key: bytes, log: logging.Handler | None) -> type[Transport]:
    """The transport class of one system: Thespian hands the class, not an object, to every new process."""
    return type("SystemTransport", (Transport,), {"envelope": Envelope(key), "log": log})


def cheap_names() -> None:
    """Make Thespian name messages in its log by their type: it does so for every message, logged or not.

    The stock way is `str(message)`: 11 to 20 ms for a megabyte, and personal data in a log.
    """
    TransmitIntent.identify = _name_transmission
    ReceiveEnvelope.identify = _name_arrival


def _name_transmission(intent: Any) -> str:
    return f"{type(intent.message).__name__} to {intent.targetAddr}"


def _name_arrival(envelope: Any) -> str:
    return f"{type(envelope.message).__name__} from {envelope.sender}"

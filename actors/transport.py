"""Thespian's TCP transport, hardened: loopback only, signed, bounded, in order, nothing inherited.

What each override replaces and why is told in docs/actor-base.md. `pinned.py` lists the replaced code with its hash.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pickle
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
from sluicegate.actors.frames import MAX_FRAME_BYTES, BadFrame, FrameBuffer, frame
from sluicegate.actors.outbox import Outbox
from sluicegate.actors.signing import Envelope, NotSigned

LOOPBACK = "127.0.0.1"
MAX_ON_THE_WAY = 100  # batches of one process that are sent and not acknowledged, one for each receiver
MAX_BATCH = 100  # messages for one receiver that travel together because they waited for the same answer
MAX_BATCH_BYTES = 256 * 1024  # a single message may be larger
MAX_WAITING = 100_000  # messages of one process that wait behind them; more are refused at once
MAX_INCOMING = 512  # half-received messages; the oldest gives way
INCOMING_PERIOD_S = 30.0  # for one message to arrive completely: over loopback it takes milliseconds
RETRY_PERIOD = timedelta(seconds=1)  # and n times that after the nth failure; Thespian waits 35 s
_SWEEP_PERIOD_S = 1.0
_BACKLOG = 100  # connections that wait for accept; with 1024 a flood of 1000 kept an actor busy for 5 s
_MAX_ACCEPTS = 32  # connections taken before their messages are handled
_READ_BYTES = 64 * 1024
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


_log = logging.getLogger(__name__)


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
        self._outbox: Outbox[Any] = Outbox(size_of=_sealed_bytes, max_items=MAX_BATCH, max_bytes=MAX_BATCH_BYTES)
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
        """The sealed message; raises `BadFrame` when it is larger than any peer accepts."""
        sealed = self.envelope.seal((self.myAddress, intent.message))
        if len(sealed) > MAX_FRAME_BYTES:
            raise BadFrame(f"a message of {len(sealed)} bytes is too large (at most {MAX_FRAME_BYTES})")
        return sealed

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
        elif port_of(intent.targetAddr) == port_of(self.myAddress):
            self._processReceivedEnvelope(ReceiveEnvelope(intent.targetAddr, intent.message), has_exclusive_flag)
            intent.tx_done(SendStatus.Sent)
        elif not self._queue_tx(intent):
            return
        while self._canSendNow() and self._runQueued(has_exclusive_flag):
            pass
        if self._runner not in (None, threading.get_ident()):
            self.interrupt_wait()  # that thread may sleep in a select that does not know of the new socket

    def _runQueued(self, has_exclusive_flag: bool = False) -> bool:
        """Start sending the next batch; False when there is none, or another thread is at it."""
        self._complete_expired_intents()
        while True:
            with self._aTB_lock:
                if has_exclusive_flag or not self._aTB_processing:
                    batch = [] if self._aTB_sending else self._outbox.take()
                    if not batch:
                        return False
                    self._aTB_processing = self._aTB_sending = True
                    break
            time.sleep(0.00001)
        try:
            self._submit_batch(batch)
        finally:
            self._aTB_sending = False
            self._aTB_processing = has_exclusive_flag
        return True

    def _submit_batch(self, batch: list[Any]) -> None:
        """Start sending a batch; its first message stands for all of them."""
        first, *others = batch
        self._aTB_numPendingTransmits += 1

        def done(result: object, _intent: object) -> None:
            for other in others:
                other.tx_done(result)
            self._batch_done(first.receiver_port)

        first.serMsg = frame(b"".join(intent.serMsg for intent in batch))
        first.transmit_retry_period = RETRY_PERIOD
        first.addCallback(done, done)
        first.stage = self._XMITStepSendConnect
        if self._nextTransmitStep(first):
            self._transmitIntents[first.socket.fileno()] = first

    def _batch_done(self, receiver_port: int) -> None:
        """A receiver is free for the next batch."""
        self._aTB_numPendingTransmits -= 1
        with self._aTB_lock:
            self._outbox.done(receiver_port)
        while self._canSendNow() and self._runQueued():
            pass

    def _nextTransmitStep(self, intent: Any) -> bool:
        """The next step of sending; an error ends the message instead of losing its place for ever."""
        try:
            again: bool = getattr(self, f"_next_XMIT_{intent.stage}")(intent)
        except Exception:
            _log.warning("sending failed", exc_info=True)
            again = self._finishIntent(intent, SendStatus.Failed)
        return again

    def _next_XMIT_1(self, intent: Any) -> bool:
        """Connect, and send at once: over loopback the connection is there when `connect` returns."""
        intent.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        intent.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        problem = intent.socket.connect_ex((LOOPBACK, intent.receiver_port))
        if problem not in (0, errno.EINPROGRESS):
            dead = problem == errno.ECONNREFUSED
            return bool(self._finishIntent(intent, SendStatus.DeadTarget if dead else SendStatus.Failed))
        intent.stage = self._XMITStepSendData
        intent.amtSent = 0
        return self._nextTransmitStep(intent) if problem == 0 else True

    def _next_XMIT_2(self, intent: Any) -> bool:
        again: bool = super()._next_XMIT_2(intent)
        return self._nextTransmitStep(intent) if intent.stage == self._XMITStepShutdownWrite else again

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
        """Take the connections that wait, and of each what has already been sent."""
        for _ in range(_MAX_ACCEPTS):
            try:
                connection, _peer = self.socket.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._drop_oldest_incoming()
                break
            self._begin_incoming(connection)
        self._check_indicators()

    def _begin_incoming(self, connection: socket.socket) -> None:
        """Take a message that is there as a whole; remember the connection of one that is not."""
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming: Any = Incoming(connection, FrameBuffer(self.envelope.verify))
        with contextlib.suppress(BlockingIOError):
            incoming = self._take(incoming, _READ_BYTES)
        if incoming is None:
            return
        if len(self._incomingSockets) >= MAX_INCOMING:
            self._drop_oldest_incoming()
        self._incomingSockets[connection.fileno()] = incoming

    def _handleReadableIncoming(self, incoming: Any, has_exclusive_flag: bool = True) -> Any:
        """Read on; called when there is something to read, or the time for it is over."""
        try:
            return self._take(incoming, min(incoming.remainingSize(), MAX_FRAME_BYTES))
        except BlockingIOError:
            incoming.close()
            return None

    def _take(self, incoming: Any, max_bytes: int) -> Any:
        """Read once; None when the connection is done with. Raises BlockingIOError when there is nothing to read."""
        try:
            data = incoming.socket.recv(max_bytes)
            if data:
                incoming.addData(data)
        except BlockingIOError:
            raise
        except (OSError, BadFrame):
            data = b""
        if not data:
            incoming.close()
            return None
        return self._addedDataToIncoming(incoming)

    def _drop_oldest_incoming(self) -> None:
        """Make room: a message in parts is older than a whole one, which is taken as soon as it is there."""
        if self._incomingSockets:
            self._incomingSockets.pop(next(iter(self._incomingSockets))).close()

    def _addedDataToIncoming(self, incoming: Any, skipFinish: bool = False, has_exclusive_flag: bool = True) -> Any:
        """Verify, unpickle, answer and hand on a batch that is complete; drop what is not one of ours."""
        if not incoming.receivedAllData():
            return incoming
        try:
            pickles, _ = incoming.data
        except NotSigned:
            pickles = []
        messages = [message for data in pickles if (message := _unpickle(data)) is not None]
        _answer(incoming.socket, self.envelope.ack if messages else self.envelope.refusal)
        for sender, message in messages:
            self._processReceivedEnvelope(ReceiveEnvelope(sender, message), has_exclusive_flag)
        if not messages:
            _log.warning("refused what is no message of this system")
        incoming.close()
        return None


def _unpickle(data: bytes) -> tuple[ActorAddress, Any] | None:
    """Sender and message from a verified pickle; None for one that this process cannot read, which is logged."""
    try:
        sender, message = pickle.loads(data)
        if isinstance(sender.addressDetails, IPActorAddress):
            return sender, message
    except Exception as error:
        _log.warning("cannot read a message: %s", type(error).__name__)
    return None


def _sealed_bytes(intent: Any) -> int:
    """Size of a message that waits."""
    return len(intent.serMsg)


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

"""The receiving half of the transport: bounded, and nothing is unpickled before its signature has been verified."""

from __future__ import annotations

import contextlib
import errno
import logging
import pickle
import socket
import time
from typing import Any, ClassVar

from thespian.actors import ActorAddress
from thespian.system.timing import ExpirationTimer
from thespian.system.transport import ReceiveEnvelope
from thespian.system.transport.IPBase import IPActorAddress
from thespian.system.transport.TCPTransport import TCPIncoming_Common, TCPTransport

from sluicegate.actors.frames import MAX_FRAME_BYTES, BadFrame, FrameBuffer, NotProven, frame
from sluicegate.actors.signing import Envelope, NotSigned

MAX_INCOMING = 512  # half-received messages; the oldest gives way
INCOMING_PERIOD_S = 30.0  # for one message to arrive completely: over loopback it takes milliseconds
_MAX_ACCEPTS = 32  # connections taken before their messages are handled
_READ_BYTES = 64 * 1024
_COMPLAINT_PERIOD_S = 1.0  # at most one line of log in this time, so that a flood does not fill the disk
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

_log = logging.getLogger(__name__)


class Incoming(TCPIncoming_Common):
    """A connection to us that is to bring one message."""

    def __init__(self, sock: socket.socket, buffer: FrameBuffer) -> None:
        super().__init__(ActorAddress(None), sock, buffer)
        self._expires = ExpirationTimer(INCOMING_PERIOD_S)


class Receiver(TCPTransport):
    """Replaces how Thespian takes connections and what arrives on them."""

    envelope: ClassVar[Envelope]

    _next_complaint = 0.0

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
        incoming: Any = Incoming(connection, FrameBuffer(self.envelope.verify, proof=self.envelope.proof))
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
        except NotProven:
            _answer(incoming.socket, self.envelope.refusal)
            self._complain()
            data = b""
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
            self._complain()
        incoming.close()
        return None

    def _complain(self) -> None:
        """Log that somebody sends what is not signed with our key."""
        now = time.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + _COMPLAINT_PERIOD_S
            _log.warning("refused what is no message of this system")


def _unpickle(data: bytes) -> tuple[ActorAddress, Any] | None:
    """Sender and message from a verified pickle; None for one that this process cannot read, which is logged."""
    try:
        sender, message = pickle.loads(data)
        if isinstance(sender.addressDetails, IPActorAddress):
            return sender, message
    except Exception as error:
        _log.warning("cannot read a message: %s", type(error).__name__)
    return None


def _answer(connection: socket.socket, answer: bytes) -> None:
    """Tell the sender; one that is gone will find out by itself."""
    with contextlib.suppress(OSError):
        connection.send(frame(answer))

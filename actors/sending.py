"""The sending half of the transport: in order for each receiver, and nobody waits for somebody else's receiver."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from datetime import timedelta
from typing import Any, ClassVar

from thespian.system.transport import ReceiveEnvelope, SendStatus, Thespian__UpdateWork
from thespian.system.transport.TCPTransport import TCPTransport

from sluicegate.actors.addresses import LOOPBACK, port_of
from sluicegate.actors.frames import MAX_FRAME_BYTES, BadFrame, FrameBuffer, frame
from sluicegate.actors.outbox import Outbox
from sluicegate.actors.signing import Envelope

MAX_ON_THE_WAY = 100  # batches of one process that are sent and not acknowledged, one for each receiver
MAX_BATCH = 100  # messages for one receiver that travel together because they waited for the same answer
MAX_BATCH_BYTES = 256 * 1024  # a single message may be larger
MAX_ANSWER_BYTES = 64  # an acknowledgement has 32; whoever answers at a port need not be one of ours
MAX_WAITING = 100_000  # messages of one process that wait behind them; more are refused at once
RETRY_PERIOD = timedelta(seconds=1)  # and n times that after the nth failure; Thespian waits 35 s
_SWEEP_PERIOD_S = 1.0

_log = logging.getLogger(__name__)


class Sender(TCPTransport):
    """Replaces Thespian's queue of messages to send, and the steps of sending one."""

    envelope: ClassVar[Envelope]
    log: ClassVar[logging.Handler | None]

    _aTB_processing: bool
    _aTB_sending: bool

    def _start_sending(self) -> None:
        """An empty queue."""
        self._outbox: Outbox[Any] = Outbox(size_of=_sealed_bytes, max_items=MAX_BATCH, max_bytes=MAX_BATCH_BYTES)
        self._next_sweep = 0.0
        self._runner: int | None = None

    def serializer(self, intent: Any) -> bytes:
        """The sealed message; raises `BadFrame` when it is larger than any peer accepts."""
        sealed = self.envelope.seal((self.myAddress, intent.message))
        if len(sealed) > MAX_FRAME_BYTES:
            raise BadFrame(f"a message of {len(sealed)} bytes is too large (at most {MAX_FRAME_BYTES})")
        return sealed

    def scheduleTransmit(self, address_manager: Any, intent: Any, has_exclusive_flag: bool = False) -> None:
        """Take a message for sending.

        A log record is written to the log at once instead. A message to ourselves is not pickled: Thespian could
        not tell a parent of a child that died before it had an address.
        """
        if isinstance(intent.message, logging.LogRecord):
            if self.log is not None:
                self.log.handle(intent.message)
            intent.tx_done(SendStatus.Sent)
        elif address_manager is None and intent.targetAddr == self.myAddress:
            self._hand_to_self(intent, has_exclusive_flag)
        else:
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
            self._hand_to_self(intent, has_exclusive_flag)
        elif not self._queue_tx(intent):
            return
        while self._canSendNow() and self._runQueued(has_exclusive_flag):
            pass
        if self._runner not in (None, threading.get_ident()):
            self.interrupt_wait()  # that thread may sleep in a select that does not know of the new socket

    def _hand_to_self(self, intent: Any, has_exclusive_flag: bool) -> None:
        """Receive our own message without the detour over the network."""
        self._processReceivedEnvelope(ReceiveEnvelope(intent.targetAddr, intent.message), has_exclusive_flag)
        intent.tx_done(SendStatus.Sent)

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

        first.serMsg = frame(b"".join(intent.serMsg for intent in batch), self.envelope.proof)
        first.transmit_retry_period = RETRY_PERIOD
        first.addCallback(done, done)
        first.stage = self._XMITStepSendConnect
        if self._nextTransmitStep(first):
            if hasattr(first, "socket"):
                self._transmitIntents[first.socket.fileno()] = first
            else:
                self._waitingTransmits.append(first)

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
        """Connect and send at once: over loopback the connection is there although `connect` says "in progress"."""
        intent.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        intent.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        intent.stage = self._XMITStepSendData
        intent.amtSent = 0
        try:
            with contextlib.suppress(BlockingIOError):
                intent.socket.connect((LOOPBACK, intent.receiver_port))
            intent.amtSent = intent.socket.send(intent.serMsg)
        except BlockingIOError:
            return True  # goes on when the connection is there
        except (ConnectionRefusedError, BrokenPipeError):
            return bool(self._finishIntent(intent, SendStatus.DeadTarget))
        return self._next_XMIT_3(intent) if intent.amtSent == len(intent.serMsg) else True

    def _next_XMIT_2(self, intent: Any) -> bool:
        again: bool = super()._next_XMIT_2(intent)
        return self._next_XMIT_3(intent) if intent.stage == self._XMITStepShutdownWrite else again

    def _next_XMIT_3(self, intent: Any) -> bool:
        intent.ackbuf = FrameBuffer(max_bytes=MAX_ANSWER_BYTES)
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


def _sealed_bytes(intent: Any) -> int:
    """Size of a message that waits."""
    return len(intent.serMsg)

"""The loop in which a process of the actor system waits, receives, sends and handles."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator
from typing import Any

from thespian.actors import WatchMessage
from thespian.system.timing import currentTime
from thespian.system.transport import (
    ReceiveEnvelope,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    TransmitOnly,
)
from thespian.system.transport.TCPTransport import TCPTransport

from sluicegate.actors.outbox import Outbox

_AGAIN_S = 1e-5
"""How long another thread is given that starts to send."""


class Loop(TCPTransport):
    """Takes the place of Thespian's loop, which forgets a timer that is due within the same microsecond.

    Theirs also makes an epoll object in each round, and so ends the process when it is out of descriptors; and a
    watched file that was closed, or is watched twice, ends it too.
    """

    _aborting_run: bool
    _outbox: Outbox[Any]
    _finished_intents: list[Any]
    _watches: list[int]
    _incomingEnvelopes: list[Any]

    def _runWithExpiry(self, handler: Any) -> Any:
        """Handle messages until the time is over, the handler says so, or the run is aborted.

        With `TransmitOnly` for a handler nothing is handled: the answer is how many batches are still on their way,
        as soon as one of them has arrived. With None the answer is the first message.
        """
        only_send = handler is TransmitOnly or isinstance(handler, TransmitOnly)
        if hasattr(self, "_aborting_run"):
            del self._aborting_run
        while not hasattr(self, "_aborting_run") or (self._aborting_run and self._unsent()):
            if self.run_time.view().expired():
                break
            if self._finished_intents:
                self._tell_finished()
                continue
            if only_send:
                if not self._on_the_way():
                    return 0
            else:
                self._check_indicators()
            if self._incomingEnvelopes and not only_send:
                envelope = self._incomingEnvelopes.pop(0)
                if handler is None:
                    return envelope
                result = Thespian__Run_HandlerResult(handler(envelope))
                if not result:
                    return result
                continue
            before = self._on_the_way()
            self._round(only_send=only_send)
            self._tell_finished()
            if only_send and self._on_the_way() < before:
                return self._on_the_way()
        return Thespian__Run_Terminated() if hasattr(self, "_aborting_run") else Thespian__Run_Expired()

    def set_watch(self, fds: list[int]) -> None:
        """Watch these from now on; what was noticed of others and not told yet is forgotten."""
        self._watches = fds
        if self._incomingEnvelopes:
            self._incomingEnvelopes = [one for one in self._incomingEnvelopes if not _is_past(one, fds)]

    def _on_the_way(self) -> int:
        """How many batches have been sent and not acknowledged."""
        return len(self._transmitIntents) + len(self._waitingTransmits)

    def _unsent(self) -> bool:
        """True while there is something to send, to be acknowledged, or to be called back for."""
        return bool(self._on_the_way() or self._finished_intents or self._outbox)

    def _round(self, *, only_send: bool) -> None:
        """Wait for something to happen, and do what it asks for except handling messages."""
        with self._alone():
            poller = self._poller(only_send=only_send)
            due = self._next_due()
            timeout_s = min(due, self.run_time.view().remainingSeconds(float("inf")) or 0.0)
        events = dict(poller.poll(None if timeout_s == float("inf") else 1000 * timeout_s))
        with self._alone():
            self._receive(events, only_send=only_send)
            for fd in events:
                self._processIntents(fd)
            if timeout_s >= due:
                self._processIntentTimeouts()
                self._drop_late_incoming()
            self._notice_watched(events)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread sends meanwhile; Thespian's own never lets go again when an exception passes through it."""
        while not self._exclusively_processing():
            time.sleep(_AGAIN_S)
        try:
            yield
        finally:
            self._not_processing()

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:
        """End the wait; also in a signal handler, which must not raise when there is no descriptor left to do it with.

        What it was for is then noticed when the wait ends by itself.
        """
        with contextlib.suppress(OSError):
            super().interrupt_wait(signal_shutdown, check_children)

    def _tell_finished(self) -> None:
        """Call back for what has been sent or has failed; this may start the sending of more."""
        finished, self._finished_intents = self._finished_intents, []
        for intent, status in finished:
            intent.tx_done(status)

    def _poller(self, *, only_send: bool) -> select.poll:
        """Everything that may become ready; nobody is told of watched files while nothing is handled."""
        poller = select.poll()
        for fd in () if only_send else self._watches:
            poller.register(fd, select.POLLIN)
        for fd in self._incomingSockets:
            poller.register(fd, select.POLLIN)
        for fd, intent in self._transmitIntents.items():
            if not intent.backoffPause():
                waits_for_ack = intent.stage == self._XMITStepWaitForAck
                poller.register(fd, select.POLLIN if waits_for_ack else select.POLLOUT)
        if not only_send:
            poller.register(self.socket.fileno(), select.POLLIN)
        return poller

    def _next_due(self) -> float:
        """Seconds until the first batch or half-received message needs attention; infinity when none does."""
        now = currentTime()
        delays = [intent.delay(now) for intent in self._transmitIntents.values()]
        delays += [intent.delay(now) for intent in self._waitingTransmits]
        delays += [incoming.delay(now) for incoming in self._incomingSockets.values()]
        return float(min((delay.total_seconds() for delay in delays), default=float("inf")))

    def _receive(self, events: dict[int, int], *, only_send: bool) -> None:
        """Read on from what is readable, and take new connections."""
        for fd in [fd for fd in events if fd in self._incomingSockets]:
            incoming = self._handleReadableIncoming(self._incomingSockets.pop(fd))
            if incoming is not None:
                self._incomingSockets[fd] = incoming
        if not only_send and self.socket.fileno() in events:
            self._acceptNewIncoming()

    def _drop_late_incoming(self) -> None:
        """Close connections whose message has not arrived in time."""
        for fd in [fd for fd, incoming in self._incomingSockets.items() if not incoming.delay()]:
            self._incomingSockets.pop(fd).close()

    def _notice_watched(self, events: dict[int, int]) -> None:
        """Queue a message about the watched files that are ready; forget those that have been closed."""
        self._watches = [fd for fd in self._watches if not events.get(fd, 0) & select.POLLNVAL]
        ready = [fd for fd in self._watches if fd in events]
        if ready:
            self._incomingEnvelopes.append(ReceiveEnvelope(self.myAddress, WatchMessage(ready)))


def _is_past(item: object, watched: list[int]) -> bool:
    """Whether this tells only of files that are not watched any more."""
    if not isinstance(item, ReceiveEnvelope) or not isinstance(item.message, WatchMessage):
        return False
    return set(watched).isdisjoint(item.message.ready)

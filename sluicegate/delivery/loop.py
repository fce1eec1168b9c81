"""The delivery loop: end calls, read on, start calls, commit, wait.

Rules are in `lanes`; this file has the clock and the order of things.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sluicegate import failpoints
from sluicegate.delivery import trace
from sluicegate.delivery.breaker import Breaker, BreakerState
from sluicegate.delivery.calls import Calls, Ended
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.deciding import Deciding
from sluicegate.delivery.flight import FlightRecord
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HoldBounds
from sluicegate.delivery.held_log import HeldLog
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.keeping_up import KeepingUp
from sluicegate.delivery.lane import Work
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.pacing import pace_s
from sluicegate.delivery.plugin import Plugin, error_text
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.report import Vitals
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.waiting import Waiting
from sluicegate.delivery.walltime import wall_ms
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import ConsentUnreadable, LogUnavailable, Retry
from sluicegate.eventlog.base import EventLog, Offset

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""The log is looked at this often whether the bell has rung or not."""
COMMIT_EVERY_S = 0.02
"""Progress is committed at most this often; a killed process repeats at most what it delivered in this time."""
PACE_EVERY_S = 0.02
"""Whether it keeps up is looked at this often."""
STORE_RETRY_S = 1.0
"""Wait after the log or the store could not be used."""


@dataclass(slots=True)
class Stop:
    """The wish to end, set from any thread."""

    asked: threading.Event
    calls_until: float = 0.0
    """When calls in flight are waited for no longer (monotonic)."""


class DeliveryLoop:
    """Delivers from a cursor on, until stopped or halted; belongs to one thread."""

    def __init__(
        self,
        plugin: Plugin,
        store: DestinationStore,
        log: EventLog,
        *,
        name: str,
        epoch: int,
        cursor: int,
        waiting: Waiting,
        stop: Stop,
        vitals: Vitals,
        flight: FlightRecord,
        recovery: Recovery,
        rate_per_s: float | None,
        gate: Gate,
        deciding: Deciding,
        hold: HoldBounds,
        head: Callable[[], Offset],
        on_keeping_up: Callable[[bool], object],
    ) -> None:
        self._plugin = plugin
        self._head = head
        self._on_keeping_up = on_keeping_up
        self._keeping_up = KeepingUp()
        self._flight = flight
        self._waiting = waiting
        self._stop = stop
        self._vitals = vitals
        self._lanes = Lanes(cursor, plugin.limits, rate_per_s=rate_per_s, recovery=recovery, gate=gate)
        self._breaker_state = BreakerState.CLOSED
        self._gate = gate
        self._reader = Reader(log, plugin.permits, self._lanes, may_go_on=self._catch_up)
        held_log = HeldLog(log, gate, plugin.permits)
        self._holding = Holding(store, log, gate, self._lanes, held_log, epoch=epoch, bounds=hold)
        self._commits = Commits(store, self._lanes, self._reader, epoch=epoch, mask=plugin.mask, holding=self._holding)
        self._calls = Calls(plugin.deliver, name=name, wake=waiting.wake, entered=deciding.done)
        self._deciding = deciding
        self._few = plugin.limits.max_events // 2
        self._goal = 0.75 * plugin.limits.max_events
        self._began = -math.inf
        self._unread = True
        self._blocked: str | None = None
        self._n_started = 0
        self._ran_in_place = False
        self._timeout_s = plugin.instance.context.timeout_s
        self._looked_at = self._committed_at = self._batched_at = self._resume_at = self._paced_at = -math.inf
        vitals.oldest_call_s = self._calls.oldest_s
        vitals.cursor = cursor

    def run(self) -> str | None:
        """Deliver until asked to stop, then finish; the reason when the vendor has refused us, else None."""
        self._look_at_breaker()
        while not self._stop.asked.is_set() and self._lanes.halted is None:
            began = time.monotonic()
            try:
                self._cycle(began)
            except ConsentUnreadable as error:
                self._block(str(error))
                self._resume_at = began + STORE_RETRY_S
            except LogUnavailable as error:
                self._trouble(error, began)
            self._wait(began)
        self._finish()
        return None if self._lanes.halted is None else self._plugin.mask(self._lanes.halted)

    def _cycle(self, now: float) -> None:
        self._n_started = 0
        self._end_calls()
        if now < self._resume_at:
            return
        self._read(now)
        self._start_calls(time.monotonic())
        self._commit(time.monotonic(), at_once=self._lanes.careful)  # what goes through now must not come again
        self._look_at_pace(now)
        self._vitals.rests_until = self._lanes.rests_until

    def _look_at_pace(self, now: float) -> None:
        if now < self._paced_at + PACE_EVERY_S:
            return
        self._paced_at = now
        if self._keeping_up.look(self._lanes.settlement.last, self._head(), now):
            self._on_keeping_up(self._keeping_up.keeps_up)

    def _end_calls(self) -> None:
        for ended in self._calls.ended():
            self._complete(ended)

    def _complete(self, ended: Ended) -> None:
        self._flight.ended(ended.work)
        self._lanes.complete(ended.work, ended.result, now=ended.at)
        self._vitals.last_event_at = ended.at
        if isinstance(ended.result, BaseException):
            self._tell_failure(ended.result, len(ended.work.batch))
        elif isinstance(ended.result, Outcome):
            self._tell_outcome(ended.result, ended.work.batch)
        else:
            self._vitals.error = None
            trace.delivered(ended.work.batch)
        self._look_at_breaker()

    def _tell_outcome(self, outcome: Outcome, batch: Batch) -> None:
        """A part of a batch is not delivered; a whole one that is just not for this destination is no failure."""
        trace.partly_delivered(batch, outcome)
        error = outcome.failure()
        if error is None:
            self._vitals.error = None
        else:
            self._tell_failure(error, len(outcome.rejected) + len(outcome.again))

    def _tell_failure(self, error: BaseException, n_events: int) -> None:
        self._vitals.error = self._plugin.mask(error_text(error))
        self._vitals.unknown_outcomes += isinstance(error, Retry) and bool(error.outcome_unknown)
        logger.warning("%d events not delivered: %s", n_events, self._vitals.error)
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_RETRY_WAIT)

    def _look_at_breaker(self) -> None:
        """Tell of the circuit breaker when it has changed."""
        breaker = self._lanes.breaker
        if breaker.state is self._breaker_state:
            return
        self._breaker_state = breaker.state
        self._vitals.breaker = breaker.state.value
        self._vitals.reason = reason_of(breaker)
        logger.warning(self._vitals.reason or "circuit breaker closed")

    def _read(self, now: float) -> None:
        if now >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = now
            self._unread = True
            self._commits.take_replays(self._plugin.permits)
            self._look_at_held()
        elif self._holding.more:
            self._gate.refresh()
            self._catch_up()
        if self._unread and self._wants_more:
            self._unread = self._reader.fill() > 0 or self._holding.more

    @property
    def _wants_more(self) -> bool:
        """Whether more should be read from the log; not while events wait that must go out before newer ones."""
        return self._lanes.wants_more and not self._holding.more

    def _look_at_held(self) -> None:
        if self._holding.any:
            self._gate.refresh()
            self._catch_up()
            self._holding.expire()

    def _catch_up(self) -> bool:
        """Let go of held events that may go by the ledger as the gate knows it; whether newer ones may follow."""
        if self._holding.is_due:
            self._commits.gather(time.monotonic())
            if self._commits.holds_some:
                self._commits.commit()
        return self._holding.catch_up()

    def _start_calls(self, now: float) -> None:
        works = self._decide(now)
        self._batched_at = now
        self._block(self._lanes.blocked)
        self._look_at_breaker()
        for work in works:
            self._flight.began(work)
        self._ran_in_place = len(works) == 1 and self._lanes.fast and not self._calls.n_running
        if works:
            self._vitals.caught_up = False
            self._vitals.last_event_at = now
            self._n_started = sum(len(work.batch) for work in works)
        if self._ran_in_place:
            self._complete(self._calls.run(works[0]))  # a thread's hop would cost more than such a call
            return
        for work in works:
            self._calls.submit(work)

    def _decide(self, now: float) -> list[Work]:
        """The calls to start; who writes a denial meanwhile can wait until they are entered."""
        if not self._lanes.has_waiting:
            return self._lanes.next_batches(now)
        self._deciding.begin()
        try:
            works = self._lanes.next_batches(now)
            self._deciding.add(len(works))
        finally:
            self._deciding.done()
        return works

    def _block(self, blocked: str | None) -> None:
        """Tell whether consent can be decided; while it cannot, events wait."""
        if blocked == self._blocked:
            return
        self._blocked = blocked
        self._vitals.reason = reason_of(self._lanes.breaker) if blocked is None else f"blocked: {blocked}"
        logger.warning(self._vitals.reason or "consent can be decided again")

    def _commit(self, now: float, *, at_once: bool = False, last: bool = False) -> None:
        pending = self._commits.gather(now, last=last)
        if pending and (at_once or now >= self._committed_at + COMMIT_EVERY_S):
            self._committed_at = now
            self._commits.commit()
            if self._commits.more_replays:
                self._looked_at = -math.inf
            self._vitals.cursor, self._vitals.delivered = self._commits.cursor, self._commits.delivered
            self._vitals.delivered_unenforced = 0 if self._lanes.gate is None else self._lanes.gate.n_unenforced
            pending = False
        settled = self._lanes.idle and not self._holding.more
        self._vitals.caught_up = not pending and not self._unread and settled

    def _trouble(self, error: LogUnavailable, now: float) -> None:
        self._vitals.error = self._plugin.mask(error_text(error))
        logger.warning("the log or the store cannot be used, trying again: %s", self._vitals.error)
        self._resume_at = now + STORE_RETRY_S

    def _wait(self, began: float) -> None:
        now = time.monotonic()
        period_s, self._began = began - self._began, began
        if self._lanes.halted is not None:
            return
        if now < self._resume_at:
            self._waiting.for_wake(self._resume_at - now)
        elif self._n_started > self._few or (self._ran_in_place and self._lanes.has_waiting) or self._holding.busy:
            return
        elif self._unread and self._wants_more:
            self._waiting.for_wake(began + self._pace_s(period_s) - now)
        elif not self._wants_more:
            self._unread = True
            self._waiting.for_wake(self._due() - now)
        elif self._waiting.for_any(self._due() - now):
            self._unread = True
            self._waiting.for_wake(began + self._pace_s(period_s) - time.monotonic())

    def _pace_s(self, period_s: float) -> float:
        return pace_s(self._n_started, period_s, goal=self._goal)

    def _due(self) -> float:
        """When something is to be done although nothing happens."""
        due = min(self._looked_at + LOOK_EVERY_S, self._lanes.next_due(self._batched_at))
        return min(due, self._committed_at + COMMIT_EVERY_S) if self._commits.pending else due

    def _finish(self) -> None:
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_DRAIN)
        began = time.monotonic()
        self._end_calls()  # before the first wait: its wake-up may have been taken already
        while self._calls.n_running and (left_s := self._calls_until(began) - time.monotonic()) > 0:
            self._waiting.for_wake(left_s)
            self._end_calls()
        self._calls.close()
        try:
            self._commit(time.monotonic(), at_once=True, last=True)
        except LogUnavailable as error:
            self._trouble(error, time.monotonic())

    def _calls_until(self, began: float) -> float:
        """When calls in flight are to have ended."""
        return self._stop.calls_until if self._stop.asked.is_set() else began + self._timeout_s


def reason_of(breaker: Breaker) -> str | None:
    """Why nothing or little goes out, for the status; None when the circuit is closed."""
    if breaker.state is BreakerState.CLOSED:
        return None
    if breaker.state is BreakerState.HALF_OPEN:
        return "circuit breaker half open: single calls try whether the vendor works again"
    until = datetime.fromtimestamp(wall_ms(breaker.until) / 1000, UTC).isoformat(timespec="seconds")
    n_failed, n_calls = breaker.failures
    why = f"{n_failed} of the last {n_calls} calls failed" if n_calls else "it was when the process before this ended"
    return f"circuit breaker open until {until}: {why}"

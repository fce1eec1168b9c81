"""The adapter: one destination's process, made of the real delivery core and a shell that follows the real one.

What the simulator knows of `sluicegate.delivery` is here: the rules (`Lanes`, `Reader`, `Commits`) are the product's,
the order of things (`_cycle`, `_wait`, `_finish`) is that of `delivery.loop`, reports those of `actors.destination`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sluicegate.delivery.lane import Work
from sluicegate.delivery.loop import COMMIT_EVERY_S, LOOK_EVERY_S, STORE_RETRY_S
from sluicegate.delivery.pacing import PACE_S
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.worker import CALLS_SHARE, DIED_IN_REPLAY
from sluicegate.errors import ConsentUnreadable, CredentialsRefused, LogUnavailable, Rejected, Retry, StaleEpoch
from tests.simulation.calls import Call, Phase
from tests.simulation.clock import Timer, Violation
from tests.simulation.consent import ModelDeciding
from tests.simulation.core import Core
from tests.simulation.faults import Fault
from tests.simulation.flight import ModelFlight
from tests.simulation.process import Process
from tests.simulation.reporting import Reporter
from tests.simulation.site import Site
from tests.simulation.store import ModelStore
from tests.simulation.vendor import Answer

if TYPE_CHECKING:
    from tests.simulation.supervisor import Supervisor
    from tests.simulation.world import World

FAREWELL_S = 0.1
CALL_TIMEOUT_S = 10.0


class DestinationProcess(Process):
    """One start of one destination."""

    def __init__(self, world: World, site: Site, epoch: int, supervisor: Supervisor) -> None:
        super().__init__(world, f"{site.config.id}#{epoch}")
        self.site = site
        self.id = site.config.id
        self.epoch = epoch
        self.supervisor = supervisor
        self.phase = Phase.STARTING
        self.is_present = False
        self.calls: list[Call] = []
        self.settled: set[int] = set()
        """Offsets that the vendor has confirmed to this process."""
        self.tried: set[int] = set()
        """Offsets that it has sent; `suspects` are those of its first calls under way of which an earlier one died."""
        self.suspects: set[int] = set()
        self.not_before: dict[int, float] = {}
        """When an event that failed may go out again."""
        self.quiet_until = 0.0
        """Until when the vendor has asked this process for no calls."""
        self._store = ModelStore(site.store, enter=self._enter_store)
        self._stop_deadline_s: float | None = None
        self.deciding = ModelDeciding()
        self._flight: ModelFlight | None = None
        self._reporter = Reporter(world, self)
        self._timer: Timer | None = None
        self._hears_bell = self._bell_rang = False
        self.last_event_at = world.clock.now
        self._unread = True
        self._n_started = 0
        self._looked_at = self._committed_at = self._batched_at = self._resume_at = -math.inf
        self._few = site.limits.max_events // 2
        self._parts: Core | None = None

    # What others do to it

    def start(self) -> None:
        """`Start` has come."""
        if self._reporter.started:
            return  # it comes once; a second one is ignored
        self._reporter.arm()
        self.later(self._world.random.uniform(0.01, 0.2), "loads", self._load)

    def stop(self, deadline_s: float) -> None:
        """`Stop` has come."""
        if not self._reporter.started:
            self._leave()
            return
        self._stop_deadline_s = deadline_s
        if self.phase in (Phase.DELIVERING, Phase.FINISHING):
            self._finish()

    def hear_bell(self) -> None:
        """The log has grown."""
        if self._hears_bell:
            self._unread = True
            self._wait_for(PACE_S, bell=False)
        else:
            self._bell_rang = True  # inotify keeps it until somebody waits for it

    def ended(self) -> None:
        """It is gone."""
        self.supervisor.hear_exit(self)

    @property
    def delivered(self) -> int:
        """Events that this process has delivered and committed."""
        return 0 if self._parts is None else self._core.commits.delivered

    @property
    def rests_s(self) -> float:
        """For how long its open breaker lets no call out."""
        return 0.0 if self._parts is None else max(0.0, self._core.lanes.rests_until - self._world.clock.now)

    @property
    def delivers(self) -> bool:
        """Whether it reads the log and commits."""
        return self.phase in (Phase.DELIVERING, Phase.FINISHING)

    # Loading

    def _load(self) -> None:
        chance = self._world.swarm.chance
        self.is_present = True
        try:
            cursor = self._store.claim(self.epoch).cursor
        except (StaleEpoch, LogUnavailable) as error:
            return self._fail(str(error))
        if chance(Fault.LOAD_FAILED):
            return self._fail("not ready")
        if chance(Fault.LOAD_CRASHED):
            return self.die()
        if chance(Fault.LOAD_HUNG):
            return None
        if chance(Fault.LOAD_REFUSED):
            return self._halt("401 while loading")
        try:
            self._build(cursor, self._recover())
        except (StaleEpoch, LogUnavailable) as error:
            return self._fail(str(error))
        self.phase = Phase.DELIVERING
        self.supervisor.tell(
            f"{self.name}: loaded", lambda t, now: t.loaded(self.id, self.epoch, now=now, pid=self.epoch)
        )
        if self._stop_deadline_s is not None:
            self._finish()
        else:
            self._wait_for(self._world.random.uniform(0.0, 0.001), bell=False)
        return None

    def _build(self, cursor: int, recovery: Recovery) -> None:
        self._flight = self.site.flight = ModelFlight(self.epoch)
        self._parts = Core.of(
            self._world,
            self.site,
            store=self._store,
            epoch=self.epoch,
            cursor=cursor,
            recovery=recovery,
            may_go_on=self._catch_up,
        )

    def _recover(self) -> Recovery:
        """What earlier processes have left, as `worker` finds it."""
        calls, replayed, released = self.site.flight.interrupted()
        if calls or replayed or released:
            died = self.site.flight.epoch
            self._world.oracle.died(self.id, died, calls, replayed=replayed, released=released)
            self._store.note_deaths(
                self.epoch, died, calls=calls, replayed=replayed, reason=DIED_IN_REPLAY, released=released
            )
        retries, suspects = self._store.unsettled()
        remembered = self._store.remembered(self.epoch, head=self._world.log.head())
        return Recovery(retries, suspects, self._world.clock.now, self.site.store.content.restraint, remembered)

    def _fail(self, reason: str) -> None:
        self.supervisor.tell_failed(self, reason)
        self._leave()

    def _lose(self, error: StaleEpoch) -> None:
        """Somebody else has moved on."""
        self._world.oracle.seen[type(error).__name__] += 1
        self._fail(str(error))

    def _halt(self, reason: str) -> None:
        self.supervisor.tell(
            f"{self.name}: halted", lambda t, now: t.halted(self.id, self.epoch, now=now, reason=reason)
        )
        self._leave()

    def _leave(self) -> None:
        self.phase = Phase.LEAVING
        self.is_present = False
        if self._flight is not None:
            self._flight.close()
        if self._timer is not None:
            self._timer.cancel()
        self._reporter.stop()
        self.later(FAREWELL_S, "leaves", self.die)

    # The loop

    def _cycle(self) -> None:
        if self.phase is not Phase.DELIVERING:
            return
        now = self._world.clock.now
        self._hears_bell = False
        self._n_started = 0
        try:
            if now >= self._resume_at:
                self._read(now)
                self._start_calls(now)
                self._commit(now, at_once=self._core.lanes.careful)
        except ConsentUnreadable as error:
            self._reporter.set_error(str(error))
            self._resume_at = now + STORE_RETRY_S
        except LogUnavailable as error:
            self._trouble(error, now)
        except StaleEpoch as error:
            return self._lose(error)
        if self._core.lanes.halted is not None:
            self._finish()
        else:
            self._wait(now)
        return None

    @property
    def _core(self) -> Core:
        assert self._parts is not None
        return self._parts

    def _read(self, now: float) -> None:
        if now >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = now
            self._unread = True
            self._core.commits.take_replays(self._core.permits)
            self._look_at_held()
        elif self._core.holding.more:
            self._core.gate.refresh()
            self._catch_up()
        if self._unread and self._wants_more:
            self._unread = self._core.reader.fill() > 0 or self._core.holding.more

    @property
    def _wants_more(self) -> bool:
        return self._core.lanes.wants_more and not self._core.holding.more

    def _look_at_held(self) -> None:
        if self._core.holding.any:
            self._core.gate.refresh()
            self._catch_up()
            self._core.holding.expire()

    def _catch_up(self) -> bool:
        if self._core.holding.is_due:
            self._core.commits.gather(self._world.clock.now)
            if self._core.commits.holds_some:
                self._write()
        return self._core.holding.catch_up()

    def _start_calls(self, now: float) -> None:
        self.deciding.add(1)
        try:
            works = self._core.lanes.next_batches(now)
            self.deciding.add(len(works))
        finally:
            self.deciding.add(-1)
        self._batched_at = now
        for work in works:
            self._reporter.set_caught_up(False)
            self.last_event_at = now
            self._n_started += len(work.batch)
            self._submit(work, now)

    def _submit(self, work: Work, now: float) -> None:
        """A call is decided on; it is entered at once, or when a thread has come to it."""
        world, replay = self._world, work.lane.replay
        offsets = [world.oracle.offset_of[message_id] for message_id in work.batch.message_ids]
        world.oracle.attempt(self, offsets, origin=work.lane.origin)
        version = world.consent.version
        call = Call(work, now, offsets, {world.oracle.events[offset].subject for offset in offsets}, replay, version)
        self.calls.append(call)
        assert self._flight is not None
        self._flight.began(work)
        if world.swarm.chance(Fault.CALL_ENTERED_LATE):
            self.later(world.random.uniform(0.0, world.random.choice((0.02, 1.0))), "", lambda: self._enter(call))
        else:
            self._enter(call)

    def _enter(self, call: Call) -> None:
        self.deciding.add(-1)
        if call not in self.calls:
            return
        self._world.oracle.entered(self, call)
        self.site.vendor.call(
            call.work.batch,
            replay=call.replay,
            ended=lambda answer: self.receive(lambda: self._end_call(call, answer)),
            kill=self.die,
        )

    def _end_call(self, call: Call, answer: Answer) -> None:
        if call not in self.calls or self.phase not in (Phase.DELIVERING, Phase.FINISHING):
            return
        now = self._world.clock.now
        self.calls.remove(call)
        self.suspects.difference_update(call.offsets)
        assert self._flight is not None
        self._flight.ended(call.work)
        self._note(call, answer, now)
        self._core.lanes.complete(call.work, answer.error, now=now)
        self.last_event_at = now
        self._reporter.set_error(None if answer.error is None else str(answer.error))
        if self.phase is Phase.DELIVERING:
            self._cycle()
        elif not self.calls:
            self._end()

    def _note(self, call: Call, answer: Answer, now: float) -> None:
        """What follows for the events of this call, for the oracle."""
        error = answer.error
        if isinstance(error, Retry) and error.after_s is not None:
            self.quiet_until = max(self.quiet_until, now + error.after_s)
        if call.replay or isinstance(error, CredentialsRefused):
            return
        if error is None:
            self.settled.update(call.offsets)
        elif answer.retry_s is not None:
            self.not_before.update(dict.fromkeys(call.offsets, now + answer.retry_s))
        elif isinstance(error, Rejected) and not isinstance(error.reasons, str):
            bad = {call.offsets[index] for index in error.reasons}
            self.settled.update(bad)
            if error.rest_delivered:
                self.settled.update(call.offsets)

    def _commit(self, now: float, *, at_once: bool = False) -> None:
        commits = self._core.commits
        pending = commits.gather(now, last=at_once)
        if pending and (at_once or now >= self._committed_at + COMMIT_EVERY_S):
            self._committed_at = now
            self._write()
            if self._world.random.random() < 0.3:
                self.site.store.sync()
            if commits.more_replays:
                self._looked_at = -math.inf
            pending = False
        settled = self._core.lanes.idle and not self._core.holding.more
        self._reporter.set_caught_up(not pending and not self._unread and settled)

    def _write(self) -> None:
        try:
            self._core.commits.commit()
        except ValueError as error:  # nobody else moves the cursor
            raise Violation(f"{self.name}: {error}") from error
        self._world.oracle.committed(self)

    def _trouble(self, error: LogUnavailable, now: float) -> None:
        self._reporter.set_error(str(error))
        self._resume_at = now + STORE_RETRY_S

    def _wait(self, began: float) -> None:
        now = self._world.clock.now
        if now < self._resume_at:
            self._wait_for(self._resume_at - now, bell=False)
        elif self._n_started > self._few or self._core.holding.busy:
            self._wait_for(5e-5, bell=False)
        elif self._unread and self._wants_more:
            self._wait_for(began + PACE_S - now, bell=False)
        elif not self._wants_more:
            self._unread = True
            self._wait_for(self._due() - now, bell=False)
        elif self._bell_rang:
            self._bell_rang = False
            self._unread = True
            self._wait_for(began + PACE_S - now, bell=False)
        else:
            self._wait_for(self._due() - now, bell=True)

    def _due(self) -> float:
        due = min(self._looked_at + LOOK_EVERY_S, self._core.lanes.next_due(self._batched_at))
        return min(due, self._committed_at + COMMIT_EVERY_S) if self._core.commits.pending else due

    def _finish(self) -> None:
        self.phase = Phase.FINISHING
        self._hears_bell = False
        if self._timer is not None:
            self._timer.cancel()
        if self.calls:
            asked_s = self._stop_deadline_s
            patience_s = CALL_TIMEOUT_S if asked_s is None else CALLS_SHARE * asked_s
            self._timer = self.later(patience_s, "runs out of patience", self._end)
        else:
            self._end()

    def _end(self) -> None:
        if self.phase is not Phase.FINISHING:
            return None
        self.calls.clear()
        now = self._world.clock.now
        try:
            self._commit(now, at_once=True)
        except LogUnavailable as error:
            self._trouble(error, now)
        except StaleEpoch as error:
            return self._lose(error)
        if self._core.lanes.halted is not None:
            return self._halt(self._core.lanes.halted)
        return self._leave()

    # Its own time

    def _wait_for(self, delay_s: float, *, bell: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hears_bell = bell
        self._timer = self.later(delay_s, "", self._cycle)

    def _enter_store(self) -> None:
        if self._world.swarm.chance(Fault.STORE_UNAVAILABLE):
            raise LogUnavailable(f"{self.id}: the store is locked")

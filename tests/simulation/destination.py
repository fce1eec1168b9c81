"""The adapter: one destination's process, made of the real delivery core and a shell that follows the real one.

What the simulator knows of `sluicegate.delivery` is here: the rules (`Lanes`, `Reader`, `Commits`) are the product's,
the order of things (`_cycle`, `_wait`, `_finish`) is that of `delivery.loop`, reports those of `actors.destination`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from sluicegate.config.declaration import Settings
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.lane import Work
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.loop import COMMIT_EVERY_S, LOOK_EVERY_S, STORE_RETRY_S
from sluicegate.delivery.pacing import PACE_S
from sluicegate.delivery.plugin import Mask, permits_of
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import CredentialsRefused, LogUnavailable, Rejected, StaleEpoch
from tests.simulation.calls import Call, Phase
from tests.simulation.clock import Timer
from tests.simulation.faults import Fault
from tests.simulation.site import Site
from tests.simulation.store import ModelStore
from tests.simulation.vendor import Answer

if TYPE_CHECKING:
    from tests.simulation.supervisor import Supervisor
    from tests.simulation.world import World

LOOK_S = 0.25
PROGRESS_S = 5.0
FAREWELL_S = 0.1
CALL_TIMEOUT_S = 10.0


class DestinationProcess:
    """One start of one destination."""

    def __init__(self, world: World, site: Site, epoch: int, supervisor: Supervisor) -> None:
        self._world = world
        self.site = site
        self.id = site.config.id
        self.epoch = epoch
        self.supervisor = supervisor
        self.name = f"{self.id}#{epoch}"
        self.alive = True
        self._frozen_until = -math.inf
        self._late: list[Callable[[], object]] = []
        self.phase = Phase.STARTING
        self.calls: list[Call] = []
        self.settled: set[int] = set()
        """Offsets that the vendor has confirmed to this process."""
        self.not_before: dict[int, float] = {}
        """When an event that failed may go out again."""
        self._store = ModelStore(site.store, enter=self._enter_store)
        self._stop_deadline_s: float | None = None
        self._timer: Timer | None = None
        self._look_timer: Timer | None = None
        self._hears_bell = self._bell_rang = False
        self._told: tuple[str | None, bool] | None = None
        self._told_at = 0.0
        self._error: str | None = None
        self._caught_up = False
        self._last_event_at = world.clock.now
        self._unread = True
        self._n_started = 0
        self._looked_at = self._committed_at = self._batched_at = self._resume_at = -math.inf
        self._few = site.limits.max_events // 2
        shortest_s = min(world.supervisor_config.idle_ttl_s or PROGRESS_S, world.supervisor_config.stall_timeout_s)
        self._progress_s = min(PROGRESS_S, shortest_s / 4)
        self._commits: Commits | None = None
        self._lanes: Lanes | None = None

    # What others do to it

    def start(self) -> None:
        """`Start` has come."""
        if self._look_timer is not None:
            return  # it comes once; a second one is ignored
        self._arm_look(LOOK_S)
        self._later(self._world.random.uniform(0.01, 0.2), "loads", self._load)

    def stop(self, deadline_s: float) -> None:
        """`Stop` has come."""
        if self._look_timer is None:
            self._leave()
            return
        self._stop_deadline_s = deadline_s
        if self.phase is Phase.DELIVERING:
            self._finish()

    def hear_bell(self) -> None:
        """The log has grown."""
        if self._hears_bell:
            self._unread = True
            self._wait_for(PACE_S, bell=False)
        else:
            self._bell_rang = True  # inotify keeps it until somebody waits for it

    def receive(self, call: Callable[[], object]) -> None:
        """Something reaches it: at once, after it thaws, or never."""
        if not self.alive:
            return
        if self._world.clock.now < self._frozen_until:
            self._late.append(call)
        else:
            call()

    def freeze(self, seconds: float) -> None:
        until = self._world.clock.now + seconds
        if until > self._frozen_until:
            self._frozen_until = until
            self._world.clock.after(seconds, "", lambda: self.thaw() if self._frozen_until == until else None)

    def thaw(self) -> None:
        self._frozen_until = -math.inf
        late, self._late = self._late, []
        for call in late:
            self.receive(call)

    def die(self) -> None:
        """It ends, however it came to that."""
        if self.alive:
            self.alive = False
            self._world.trace.say(self._world.clock.now, f"{self.name}: is gone")
            self.supervisor.hear_exit(self)

    @property
    def delivers(self) -> bool:
        """Whether it reads the log and commits."""
        return self.phase in (Phase.DELIVERING, Phase.FINISHING)

    # Loading

    def _load(self) -> None:
        chance = self._world.swarm.chance
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
        random = self._world.random
        self._lanes = Lanes(cursor, self.site.limits, random=self._world.jitter)
        reader = Reader(self._world.log, permits_of(self.site.config, Settings), self._lanes)
        self._commits = Commits(cast(DestinationStore, self._store), self._lanes, reader, epoch=self.epoch, mask=Mask())
        self.phase = Phase.DELIVERING
        self.supervisor.tell(
            f"{self.name}: loaded", lambda t, now: t.loaded(self.id, self.epoch, now=now, pid=self.epoch)
        )
        if self._stop_deadline_s is not None:
            self._finish()
        else:
            self._wait_for(random.uniform(0.0, 0.001), bell=False)
        return None

    def _fail(self, reason: str) -> None:
        self.supervisor.tell_failed(self, reason)
        self._leave()

    def _lose(self, error: StaleEpoch | ValueError) -> None:
        """Somebody else has moved on: with a newer epoch, or the router by mistake."""
        self._world.oracle.seen[type(error).__name__] += 1
        self._fail(str(error))

    def _halt(self, reason: str) -> None:
        self.supervisor.tell(
            f"{self.name}: halted", lambda t, now: t.halted(self.id, self.epoch, now=now, reason=reason)
        )
        self._leave()

    def _leave(self) -> None:
        self.phase = Phase.LEAVING
        for timer in (self._timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._later(FAREWELL_S, "leaves", self.die)

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
                self._commit(now)
        except LogUnavailable as error:
            self._trouble(error, now)
        except (StaleEpoch, ValueError) as error:
            return self._lose(error)
        if self._core.halted is not None:
            self._finish()
        else:
            self._wait(now)
        return None

    @property
    def _core(self) -> Lanes:
        assert self._lanes is not None
        return self._lanes

    @property
    def _committing(self) -> Commits:
        assert self._commits is not None
        return self._commits

    def _read(self, now: float) -> None:
        if now >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = now
            self._unread = True
            self._committing.take_replays(permits_of(self.site.config, Settings))
        if self._unread and self._core.wants_more:
            self._unread = self._committing._reader.fill() > 0

    def _start_calls(self, now: float) -> None:
        works = self._core.next_batches(now)
        self._batched_at = now
        for work in works:
            self._set_caught_up(False)
            self._last_event_at = now
            self._n_started += len(work.batch)
            self._start_call(work, now)

    def _start_call(self, work: Work, now: float) -> None:
        oracle, replay = self._world.oracle, work.lane.replay
        offsets = [oracle.offset_of[message_id] for message_id in work.batch.message_ids]
        oracle.attempt(self, offsets, replay=replay)
        call = Call(work, now, offsets, {oracle.events[offset].subject for offset in offsets}, replay)
        self.calls.append(call)
        self.site.vendor.call(
            work.batch, replay=replay, ended=lambda answer: self.receive(lambda: self._end_call(call, answer))
        )

    def _end_call(self, call: Call, answer: Answer) -> None:
        if call not in self.calls or self.phase not in (Phase.DELIVERING, Phase.FINISHING):
            return
        now = self._world.clock.now
        self.calls.remove(call)
        self._note(call, answer, now)
        self._core.complete(call.work, answer.error, now=now)
        self._last_event_at = now
        self._set_error(None if answer.error is None else str(answer.error))
        if self.phase is Phase.DELIVERING:
            self._cycle()
        elif not self.calls:
            self._end()

    def _note(self, call: Call, answer: Answer, now: float) -> None:
        """What follows for the events of this call, for the oracle."""
        if call.replay or isinstance(answer.error, CredentialsRefused):
            return
        error = answer.error
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
        commits = self._committing
        pending = commits.gather(now, last=at_once)
        if pending and (at_once or now >= self._committed_at + COMMIT_EVERY_S):
            self._committed_at = now
            commits.commit()
            if self._world.random.random() < 0.3:
                self.site.store.sync()
            if commits.more_replays:
                self._looked_at = -math.inf
            pending = False
        self._set_caught_up(not pending and not self._unread and self._core.idle)

    def _trouble(self, error: LogUnavailable, now: float) -> None:
        self._set_error(str(error))
        self._resume_at = now + STORE_RETRY_S

    def _wait(self, began: float) -> None:
        now, core = self._world.clock.now, self._core
        if now < self._resume_at:
            self._wait_for(self._resume_at - now, bell=False)
        elif self._n_started > self._few:
            self._wait_for(5e-5, bell=False)
        elif self._unread and core.wants_more:
            self._wait_for(began + PACE_S - now, bell=False)
        elif not core.wants_more:
            self._unread = True
            self._wait_for(self._due() - now, bell=False)
        elif self._bell_rang:
            self._bell_rang = False
            self._unread = True
            self._wait_for(began + PACE_S - now, bell=False)
        else:
            self._wait_for(self._due() - now, bell=True)

    def _due(self) -> float:
        due = min(self._looked_at + LOOK_EVERY_S, self._core.next_due(self._batched_at))
        return min(due, self._committed_at + COMMIT_EVERY_S) if self._committing.pending else due

    def _finish(self) -> None:
        self.phase = Phase.FINISHING
        self._hears_bell = False
        if self._timer is not None:
            self._timer.cancel()
        if self.calls:
            patience_s = CALL_TIMEOUT_S if self._stop_deadline_s is None else self._stop_deadline_s
            self._timer = self._later(patience_s, "runs out of patience", self._end)
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
        except (StaleEpoch, ValueError) as error:
            return self._lose(error)
        if self._core.halted is not None:
            return self._halt(self._core.halted)
        return self._leave()

    # Telling the supervisor

    def _set_error(self, error: str | None) -> None:
        self._error = error
        self._differ()

    def _set_caught_up(self, caught_up: bool) -> None:
        self._caught_up = caught_up
        self._differ()

    def _differ(self) -> None:
        if self._told != (self._error, self._caught_up) and self._look_timer is not None:
            now = self._world.clock.now
            if self._look_timer.at > now + LOOK_S:
                self._arm_look(LOOK_S)

    def _arm_look(self, delay_s: float) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._look_timer = self._later(delay_s, "", self._look)

    def _look(self) -> None:
        now, told = self._world.clock.now, (self._error, self._caught_up)
        if told != self._told or now >= self._told_at + self._progress_s:
            self._told, self._told_at = told, now
            self._tell_progress(now)
        self._arm_look(self._progress_s)

    def _tell_progress(self, now: float) -> None:
        error, caught_up, idle_s = self._error, self._caught_up, now - self._last_event_at
        stalled_s = max((now - call.began for call in self.calls), default=0.0)
        delivered = 0 if self._commits is None else self._commits.delivered
        self.supervisor.tell(
            f"{self.name}: progress{', caught up' if caught_up else ''}",
            lambda table, at: table.progress(
                self.id,
                self.epoch,
                now=at,
                caught_up=caught_up,
                idle_s=idle_s,
                stalled_s=stalled_s,
                delivered=delivered,
                error=error,
            ),
        )

    # Its own time

    def _wait_for(self, delay_s: float, *, bell: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hears_bell = bell
        self._timer = self._later(delay_s, "", self._cycle)

    def _later(self, delay_s: float, what: str, call: Callable[[], None]) -> Timer:
        return self._world.clock.after(delay_s, what and f"{self.name}: {what}", lambda: self.receive(call))

    def _enter_store(self) -> None:
        if self._world.swarm.chance(Fault.STORE_UNAVAILABLE):
            raise LogUnavailable(f"{self.id}: the store is locked")

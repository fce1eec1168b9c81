"""How one destination moves from state to state: pure rules over a `Slot`, effects out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sluicegate.backoff import backoff_s
from sluicegate.config.model import SupervisorConfig
from sluicegate.loading.effects import Effect, Kill, PersistPause, RequestStop, Spawn
from sluicegate.loading.shedding import EVICTED
from sluicegate.loading.slot import Phase, Process, Slot
from sluicegate.loading.status import FAILING, State

STOP_DEADLINE_S = 20.0
"""How long a process may take to finish and commit (under the 30 s that containers grant)."""
END_GRACE_S = 5.0
"""How long a process that reported its own end may take to be gone."""
STILL_S = 2.0
"""How long a process may stand still while all are to end, in case that somebody has stopped them all and lets them go
on one after the other: it cannot end by itself."""
KILL_AGAIN_S = 2.0
"""When a killed process whose exit was not seen is looked after again."""
HEALTHY_S = 60.0
"""Loaded for so long, its earlier failures are forgotten."""
HEALTHY_DELIVERED = 100
"""The same after so many delivered events: a poisoned event must not hide behind an idle minute."""

GAVE_PLACE = "its place went to another until its vendor is tried again"


class Lifecycle:
    """Applies the rules to slots; `out` takes the effects in order."""

    def __init__(self, config: SupervisorConfig, *, random: Callable[[], float], out: list[Effect]) -> None:
        self.config = config
        self._random = random
        self._out = out

    def spawn(self, slot: Slot, now: float) -> None:
        """Start it, with an epoch that nobody has had."""
        slot.known_epoch += 1
        slot.epoch = slot.known_epoch
        slot.process = Process(slot.epoch, now + self.config.spawn_timeout_s)
        slot.last_attempt = now
        slot.next_attempt_at = None
        slot.reason = None
        slot.rest = State.REGISTERED
        self._out.append(Spawn(slot.id, slot.epoch))

    def ready(self, slot: Slot, process: Process, now: float) -> None:
        """Its plugin runs."""
        process.phase = Phase.READY
        process.deadline = now + self.config.stall_timeout_s
        process.idle_since = now
        slot.loaded_at = now
        slot.last_used = now
        slot.error = None

    def stop(self, slot: Slot, now: float, *, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Ask its process to end, if it has one; again if it was given more time before."""
        process = slot.process
        if process is None or (process.ending and process.deadline <= now + deadline_s):
            return
        process.deadline = now + deadline_s
        if process.phase is not Phase.CONDEMNED:
            process.phase = Phase.STOPPING
            self._out.append(RequestStop(slot.id, process.epoch, deadline_s))

    def evict(self, slot: Slot, now: float, *, reason: str | None = None) -> None:
        """Stop one that has nothing to deliver, until somebody wants it again."""
        slot.wanted = False
        slot.reason = reason
        self.stop(slot, now)

    def give_place(self, slot: Slot, process: Process, now: float) -> None:
        """Stop one whose vendor is in an outage; it is started again when its next attempt is due."""
        slot.rest = State.BACKING_OFF
        slot.next_attempt_at = process.rests_until
        slot.error = slot.error or "its vendor is in an outage"
        slot.reason = GAVE_PLACE
        self.stop(slot, now)

    def pause(self, slot: Slot, now: float, *, reason: str) -> None:
        """Stop it and keep it stopped; whether it was wanted is kept for the end of the pause."""
        self._out.append(PersistPause(slot.id, reason))
        slot.forgive()
        slot.rest = State.PAUSED
        slot.reason = reason
        self.stop(slot, now)

    def resume(self, slot: Slot) -> None:
        """End a pause."""
        if slot.rest is State.PAUSED:
            self._out.append(PersistPause(slot.id, None))
            slot.rest = State.REGISTERED
            slot.reason = None
            slot.error = None

    def failed(self, slot: Slot, now: float, *, error: str, crashed: bool) -> None:
        """Count a failure and set the time of the next attempt."""
        slot.fail(error)
        burst = slot.crash(now) if crashed else False
        if burst or slot.retry_count > self.config.max_retries:
            slot.rest = State.QUARANTINED
            slot.next_attempt_at = now + self.config.retry_cap_s
            return
        slot.rest = State.BACKING_OFF
        slot.next_attempt_at = now + backoff_s(
            slot.retry_count - 1,
            base_s=self.config.retry_delay_s,
            cap_s=self.config.retry_cap_s,
            random=self._random,
        )

    def failed_for_good(self, slot: Slot, *, error: str) -> None:
        """Count a failure that another attempt can't mend: none is made before somebody asks for it."""
        slot.fail(error)
        self.give_up(slot)

    def give_up(self, slot: Slot) -> None:
        """Wait for somebody who asks for an attempt."""
        slot.rest = State.FAILED
        slot.next_attempt_at = None
        slot.reason = f"not tried again before `sluicegate retry {slot.id}`"

    def condemn(self, slot: Slot, process: Process, now: float) -> None:
        """It reported its own end: its exit is awaited for a moment."""
        process.phase = Phase.CONDEMNED
        process.deadline = now + END_GRACE_S

    def kill(self, slot: Slot, process: Process, now: float) -> None:
        """End its process without asking; looked after until the exit is seen."""
        if process.phase is not Phase.STOPPING:
            process.phase = Phase.CONDEMNED
        process.deadline = now + KILL_AGAIN_S
        process.still_since = None
        self._out.append(Kill(slot.id, process.epoch))

    def is_stuck(self, process: Process, now: float) -> bool:
        """Whether it has been stopped by a signal for so long that nobody is about to let it go on."""
        return process.still_since is not None and now >= process.still_since + STILL_S

    def exited(self, slot: Slot, process: Process, now: float, *, how: str = "") -> None:
        """Its process is gone."""
        slot.process = None
        if slot.rest not in (State.PAUSED, State.FAILED) and slot.reason not in (EVICTED, GAVE_PLACE):
            slot.reason = None
        if not process.ending:
            what = process.doing if process.phase is Phase.STARTING else "running"
            error = f"the process ended unexpectedly while {what}" + (f" ({how})" if how else "")
            self.failed(slot, now, error=error, crashed=True)

    def overdue(self, slot: Slot, process: Process, now: float) -> None:
        """What was to happen before its deadline did not."""
        if not process.ending:
            if process.phase is Phase.STARTING:
                error = f"not ready within {self.config.spawn_timeout_s:g} s: still {process.doing}"
            else:
                error = f"no progress for {self.config.stall_timeout_s:g} s"
            self.failed(slot, now, error=error, crashed=True)
        self.kill(slot, process, now)

    def check_health(self, slot: Slot, now: float) -> None:
        """Forget the failures of one that has been loaded long enough."""
        if slot.retry_count and slot.loaded and now >= self.healthy_at(slot):
            slot.retry_count = 0

    def healthy_at(self, slot: Slot) -> float:
        """When a loaded one counts as healthy."""
        return (slot.loaded_at or 0.0) + HEALTHY_S

    def check_idle(self, slot: Slot, now: float) -> None:
        """Stop one that has been idle for too long."""
        idle_at = self.idle_at(slot)
        if idle_at is not None and now >= idle_at:
            self.evict(slot, now)

    def idle_at(self, slot: Slot) -> float | None:
        """When a loaded one will have been idle for too long, if nothing arrives; None for never."""
        process = slot.process
        if process is None or process.phase is not Phase.READY or not process.caught_up:
            return None
        return process.idle_since + self.config.idle_ttl_s if self.config.idle_ttl_s > 0 else None

    def deadlines(self, slot: Slot) -> Iterator[float]:
        """When something is due for one with a process."""
        if slot.process is not None:
            yield slot.process.deadline
        idle_at = self.idle_at(slot)
        if idle_at is not None:
            yield idle_at
        if slot.retry_count and slot.loaded:
            yield self.healthy_at(slot)

    def rest(self, slot: Slot, now: float) -> None:
        """A failed one that nobody wants any more has nothing to wait for once its time comes."""
        if slot.process is None and not slot.wanted and slot.rest in FAILING and now >= (slot.next_attempt_at or now):
            slot.rest = State.REGISTERED
            slot.next_attempt_at = None

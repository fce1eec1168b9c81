"""The loading table: when each destination is started, tried again, stopped and given up on for a while.

It decides and never acts: every input returns the effects that its owner is to carry out. Inputs may come twice, late
or not at all; processes are told apart by id and epoch, what is out of date is ignored, and whatever is awaited has a
deadline. `now` is in seconds on one monotonic clock.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable

from sluicegate.config.model import SupervisorConfig
from sluicegate.errors import Refused
from sluicegate.loading.batches import Batches
from sluicegate.loading.effects import Drained, Effect, NoteEvicted
from sluicegate.loading.lifecycle import HEALTHY_DELIVERED, STOP_DEADLINE_S, Lifecycle
from sluicegate.loading.pauses import in_words, refused_meanwhile
from sluicegate.loading.places import Places
from sluicegate.loading.pointless import Command, why_pointless
from sluicegate.loading.shedding import EVICTED, Shedding
from sluicegate.loading.slot import MAX_ERROR_CHARS, Phase, Slot
from sluicegate.loading.status import FAILING, LoadingStatus, State
from sluicegate.loading.waiting import victims
from sluicegate.messages.status import Stats
from sluicegate.pressure import MemoryUse

LOOK_S = 5.0
"""The table wants to be looked at this often while anything runs."""
STILL_LOOK_S = 0.5
"""So often when all are to end, to find those that stand still."""
ABSENT_S = 3 * LOOK_S
"""Not called for so long, its owner was stopped or starved; the processes get that time on top of their deadlines."""
GOING_DOWN = "the system is going down"


class LoadingTable:
    """All destinations, and the rules over them: single flight, backoff, capacity, idleness, drain."""

    def __init__(self, config: SupervisorConfig, *, random: Callable[[], float] = random_module.random) -> None:
        self._config = config
        self._slots: dict[str, Slot] = {}
        self._out: list[Effect] = []
        self._life = Lifecycle(config, random=random, out=self._out)
        self._places = Places(config.max_loaded, self._life)
        self._shedding = Shedding(shed_percent=config.memory_shed_percent, keep_percent=config.memory_keep_percent)
        patience_s = config.spawn_timeout_s + STOP_DEADLINE_S
        self._batches = Batches(self._slots, self._want, patience_s=patience_s)
        self._drains: list[str] | None = None
        self._seen_at: float | None = None

    # What is known

    def register(self, id: str, *, epoch: int = 0, paused: str | None = None) -> None:
        """Make a destination known, with the greatest epoch in its store and why it is paused, if it is."""
        slot = self._slots.setdefault(id, Slot(id))
        slot.known_epoch = max(slot.known_epoch, epoch)
        if paused is not None:
            slot.rest = State.PAUSED
            slot.reason = paused

    def learn_epoch(self, id: str, epoch: int) -> None:
        """Somebody else has claimed this epoch in the destination's store; the next start gets a greater one."""
        slot = self._slots.get(id)
        if slot is not None:
            slot.known_epoch = max(slot.known_epoch, epoch)

    def __contains__(self, id: object) -> bool:
        return id in self._slots

    def ids(self) -> tuple[str, ...]:
        """All that are registered."""
        return tuple(self._slots)

    def running(self) -> tuple[str, ...]:
        """Those that have a process, in whatever state, and so may write to their stores."""
        return tuple(slot.id for slot in self._slots.values() if slot.process is not None)

    @property
    def draining(self) -> bool:
        """Whether all are to end for good."""
        return self._drains is not None

    def status(self, id: str) -> LoadingStatus:
        """Snapshot of one destination; raises `Refused` for an unknown one."""
        return self._known(id).status()

    def paused(self, id: str) -> str | None:
        """Why it is paused; None when it is not. Raises `Refused` for an unknown one."""
        slot = self._known(id)
        return slot.reason if slot.rest is State.PAUSED else None

    def pointless(self, command: Command, id: str) -> str:
        """Why a command would change nothing now; empty when it would change something, or is refused."""
        return why_pointless(command, self._known(id))

    def stats(self) -> Stats:
        """How many are in which condition."""
        states = [slot.state for slot in self._slots.values()]
        return Stats(
            registered=len(states),
            loaded=states.count(State.LOADED),
            loading=states.count(State.LOADING),
            failed=sum(slot.is_failing for slot in self._slots.values()),
            cached=len(victims(self._slots.values(), len(states))),
            evicted_for_memory=self._shedding.n_evicted,
        )

    # Commands

    def ensure(self, ids: Iterable[str], *, now: float) -> list[Effect]:
        """Load these if they are not; unknown ones are ignored. One that backs off keeps its time."""
        self._arrive(now)
        for id in ids:
            slot = self._slots.get(id)
            if slot is not None:
                self._want(slot)
        return self._settle(now)

    def load_batch(self, request_id: str, ids: Iterable[str], *, now: float, batch_size: int = 3) -> list[Effect]:
        """Load these, at most `batch_size` at a time; ends in one `BatchDone`, now or later."""
        self._arrive(now)
        self._batches.add(request_id, ids, batch_size=batch_size)
        if self._drains is not None:
            self._out.extend(self._batches.abandon(GOING_DOWN))
        return self._settle(now)

    def unload(self, id: str, *, now: float) -> list[Effect]:
        """Stop it; the next `ensure` loads it again."""
        slot = self._command(id, now)
        slot.wanted = False
        self._life.stop(slot, now)
        return self._settle(now)

    def pause(self, id: str, *, now: float, reason: str) -> list[Effect]:
        """Stop it and keep it stopped until `resume`."""
        self._life.pause(self._command(id, now), now, reason=reason)
        return self._settle(now)

    def resume(self, id: str, *, now: float) -> list[Effect]:
        """End a pause; loads it if it was running before or has been asked for since."""
        self._life.resume(self._command(id, now))
        return self._settle(now)

    def retry(self, id: str, *, now: float) -> list[Effect]:
        """Try now, whatever its backoff says; raises `Refused` when it is paused. The retry count stays."""
        slot = self._command(id, now)
        if slot.rest is State.PAUSED:
            raise Refused(f"{id} is {in_words(slot.reason)}; resume it with `sluicegate resume {id}`")
        if slot.next_attempt_at is not None:
            slot.next_attempt_at = now
        if slot.rest is State.FAILED:
            slot.rest, slot.reason = State.REGISTERED, None
        self._want(slot)
        return self._settle(now)

    def reset(self, id: str, *, now: float) -> list[Effect]:
        """Forget its failures, and load it if it is wanted."""
        self._command(id, now).forgive()
        return self._settle(now)

    def clear_all(self, *, now: float) -> list[Effect]:
        """Stop all and forget all failures; pauses stay."""
        self._arrive(now)
        for slot in self._slots.values():
            slot.wanted = False
            slot.forgive()
            self._life.stop(slot, now)
        return self._settle(now)

    def drain_all(self, request_id: str, *, now: float, deadline_s: float = STOP_DEADLINE_S) -> list[Effect]:
        """Stop all for good: nothing is started any more; ends in one `Drained` when all processes are gone."""
        self._arrive(now)
        self._drains = [*(self._drains or []), request_id]
        self._out.extend(self._batches.abandon(GOING_DOWN))
        for slot in self._slots.values():
            slot.wanted = False
            self._life.stop(slot, now, deadline_s=deadline_s)
        return self._settle(now)

    # Reports

    def spawned(self, id: str, epoch: int, *, now: float, pid: int | None) -> list[Effect]:
        """The process of a `Spawn` exists."""
        self._arrive(now)
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if process is not None and pid is not None:
            process.pid = pid
        return self._settle(now)

    def spawn_failed(self, id: str, epoch: int, *, now: float, reason: str) -> list[Effect]:
        """The process of a `Spawn` could not be made."""
        self._arrive(now)
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if slot is not None and process is not None:
            slot.process = None
            if not process.ending:
                self._life.failed(slot, now, error=reason, crashed=False)
        return self._settle(now)

    def loaded(self, id: str, epoch: int, *, now: float, pid: int) -> list[Effect]:
        """Its plugin is ready."""
        self._arrive(now)
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if slot is not None and process is not None:
            process.pid = pid
            if process.phase is Phase.STARTING:
                self._life.ready(slot, process, now)
        return self._settle(now)

    def failed(self, id: str, epoch: int, *, now: float, reason: str, permanent: bool = False) -> list[Effect]:
        """It could not load, or gave up; its process ends by itself. A permanent failure waits for `retry`."""
        self._arrive(now)
        slot = self._slots.get(id)
        if slot is None or slot.epoch != epoch:
            return self._settle(now)
        process = slot.process
        if process is not None and not process.ending:
            self._life.condemn(slot, process, now)
            if permanent:
                self._life.failed_for_good(slot, error=reason)
            else:
                self._life.failed(slot, now, error=reason, crashed=False)
        elif slot.rest in FAILING:
            slot.error = reason[:MAX_ERROR_CHARS]  # the exit was faster and has been counted; this says why
            if permanent:
                self._life.give_up(slot)
        return self._settle(now)

    def halted(self, id: str, epoch: int, *, now: float, reason: str) -> list[Effect]:
        """Its vendor refuses us: paused until somebody resumes it. Its process ends by itself."""
        self._arrive(now)
        slot = self._slots.get(id)
        if slot is not None and slot.epoch == epoch and slot.halted_epoch != epoch:
            slot.halted_epoch = epoch
            if slot.process is not None and not slot.process.ending:
                self._life.condemn(slot, slot.process, now)
            if slot.rest is not State.PAUSED:
                self._life.pause(slot, now, reason=reason)
            elif (both := refused_meanwhile(slot.reason or "", reason)) != slot.reason:
                self._life.pause(slot, now, reason=both)
            slot.error = reason[:MAX_ERROR_CHARS]
        return self._settle(now)

    def at(self, id: str, epoch: int, doing: str) -> None:
        """What its process does in order to load; an error tells it."""
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if process is not None:
            process.doing = doing

    def seen(self, id: str, epoch: int, *, now: float, still: bool) -> None:
        """Whether its process is stopped by a signal; the next `tick` does what follows."""
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if process is not None:
            process.still_since = (now if process.still_since is None else process.still_since) if still else None

    def exited(self, id: str, epoch: int, *, now: float, how: str = "") -> list[Effect]:
        """Its process is gone, with this exit code or signal; may be reported any number of times."""
        self._arrive(now)
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if slot is not None and process is not None:
            self._life.exited(slot, process, now, how=how)
        return self._settle(now)

    def progress(
        self,
        id: str,
        epoch: int,
        *,
        now: float,
        caught_up: bool,
        idle_s: float,
        stalled_s: float,
        delivered: int,
        error: str | None = None,
        breaker: str = "closed",
        rests_s: float = 0.0,
        reason: str | None = None,
        unknown_outcomes: int = 0,
        delivered_unenforced: int = 0,
    ) -> list[Effect]:
        """A sign of life; `delivered` counts from its start. One that has read the log has loaded, heard or not.

        For `rests_s` from now on no call goes out to its vendor.
        """
        self._arrive(now)
        slot = self._slots.get(id)
        process = slot.running(epoch) if slot is not None else None
        if slot is None or process is None or process.ending:
            return self._settle(now)
        if process.phase is Phase.STARTING:
            if not caught_up and not delivered:
                return self._settle(now)
            self._life.ready(slot, process, now)
        process.deadline = now + self._config.stall_timeout_s
        process.caught_up = caught_up
        process.idle_since = now - idle_s
        slot.last_used = process.idle_since
        slot.error = error
        slot.reason = reason
        process.breaker, process.unknown_outcomes = breaker, unknown_outcomes
        process.rests_until = now + rests_s
        process.delivered_unenforced = delivered_unenforced
        if delivered >= HEALTHY_DELIVERED:
            slot.retry_count = 0
        if min(stalled_s, now - process.awake_since) >= self._config.stall_timeout_s:
            self._life.overdue(slot, process, now)
        return self._settle(now)

    # Time

    def tick(self, *, now: float) -> list[Effect]:
        """Do what is due; to be called at `next_deadline`, harmless at any time."""
        self._arrive(now)
        return self._settle(now)

    def shed(self, memory: MemoryUse, *, now: float) -> list[Effect]:
        """Stop idle ones while memory is short. Whoever has an event is started all the same."""
        self._arrive(now)
        chosen = self._shedding.victims(self._slots.values(), memory, now)
        for slot in chosen:
            self._life.evict(slot, now, reason=EVICTED)
        if chosen:
            self._out.append(NoteEvicted(tuple(slot.id for slot in chosen), memory))
        return self._settle(now)

    def next_deadline(self, *, now: float) -> float | None:
        """When `tick` is to be called if nothing else happens; None for never. May lie in the past."""
        found: list[float] = []
        for slot in self._slots.values():
            if slot.process is not None:
                found += [*self._life.deadlines(slot), now + (STILL_LOOK_S if self.draining else LOOK_S)]
            elif slot.next_attempt_at is not None and not self._places.awaits(slot.id):
                found.append(slot.next_attempt_at)
        more_at = self._places.next_deadline() if self._drains is None else None
        found += [at for at in (more_at, self._batches.next_deadline()) if at is not None]
        return min(found, default=None)

    # Rules over all

    def _known(self, id: str) -> Slot:
        slot = self._slots.get(id)
        if slot is None:
            raise Refused(f"no enabled destination is named {id!r}")
        return slot

    def _command(self, id: str, now: float) -> Slot:
        slot = self._known(id)
        self._arrive(now)
        return slot

    def _want(self, slot: Slot) -> None:
        if self._drains is None:
            slot.wanted = True

    def _arrive(self, now: float) -> None:
        """Every input begins here: time in which nobody asked is nobody's fault."""
        if self._seen_at is not None and now - self._seen_at > ABSENT_S:
            for slot in self._slots.values():
                if slot.process is not None:
                    slot.process.deadline += now - self._seen_at
                    slot.process.idle_since += now - self._seen_at
                    slot.process.awake_since = now
                    slot.process.still_since = None
        self._seen_at = now if self._seen_at is None else max(now, self._seen_at)

    def _settle(self, now: float) -> list[Effect]:
        """Every input ends here: what is due is done, and the effects are handed out."""
        for slot in self._slots.values():
            process = slot.process
            if process is None:
                if slot.next_attempt_at is not None:
                    self._life.rest(slot, now)
            elif now >= process.deadline or (self.draining and self._life.is_stuck(process, now)):
                self._life.overdue(slot, process, now)
            elif process.phase is Phase.READY:
                self._life.check_health(slot, now)
                self._life.check_idle(slot, now)
        self._out.extend(self._batches.advance(now))
        if self._drains is None:
            self._places.fill(self._slots.values(), now)
        self._finish_drain()
        effects = self._out.copy()
        self._out.clear()
        return effects

    def _finish_drain(self) -> None:
        if self._drains and all(slot.process is None for slot in self._slots.values()):
            self._out.extend(Drained(request_id) for request_id in self._drains)
            self._drains = []

"""What must hold whatever happens: the judge, who sees everything and takes part in nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.pace import GIVE_UP_ATTEMPTS
from sluicegate.delivery.recovery import DEATHS_TO_BURY
from sluicegate.delivery.settlement import Stage
from sluicegate.loading.effects import Kill, Spawn
from tests.simulation.calls import Call
from tests.simulation.clock import Violation
from tests.simulation.eventlog import SimEvent
from tests.simulation.faults import EXCUSES_KILL, EXCUSES_STALE_ROUTER
from tests.simulation.judge import DENIED, UNDECIDED, Judge, kind_of
from tests.simulation.store import Moved

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.supervisor import Supervisor
    from tests.simulation.world import World

JITTER_FLOOR = 0.1
"""The least that the simulated random number of a backoff is: full jitter could be 0, and hide a missing backoff."""
MAX_RETRY_AFTER_S = 3600.0


@dataclass(slots=True)
class Ledger:
    """What is known about one destination."""

    taken: set[int] = field(default_factory=set)
    """Offsets that the vendor has."""
    newest_of: dict[str, int] = field(default_factory=dict)
    """The newest offset of each subject that the vendor has got in its turn."""
    n_duplicates: int = 0
    moved_under_it: int = 0
    """How far the router has moved the cursor of a running process, which cannot know."""
    tried: dict[int, list[float]] = field(default_factory=dict)
    """By offset when it went out, replays aside."""
    died_alone: dict[int, set[int]] = field(default_factory=dict)
    """By offset the epochs of processes that ended while it was alone on its way."""
    failed_at: float | None = None
    """When the destination last failed to load or crashed, while nobody has forgiven it."""


@dataclass(slots=True)
class Tally:
    """What a move of a cursor may have counted: of most events it is certain, of some there were several truths."""

    n_taken: int = 0
    n_surely_taken: int = 0
    n_gone: int = 0
    n_missing: int = 0
    """Neither taken nor denied for sure."""
    denied: Counter[str] = field(default_factory=Counter)
    maybe_denied: Counter[str] = field(default_factory=Counter)

    def add(self, outcomes: set[str | None], *, taken: bool, gone: bool) -> None:
        """One event that was passed."""
        certain = len(outcomes) == 1
        reasons = [outcome for outcome in outcomes if outcome is not None]
        if certain and reasons and not gone:
            self.denied[reasons[0]] += 1
            return
        self.n_gone += gone
        self.n_taken += taken
        self.n_surely_taken += taken and certain and not gone
        self.n_missing += not taken and not reasons
        self.maybe_denied.update(reasons)

    def check(self, change: Moved, fail: Callable[[str], object]) -> None:
        """Whether this may be what was counted."""
        counted: Counter[str] = Counter()
        for reason, n in change.denied.items():
            counted[kind_of(reason)] += n
        if not self.n_surely_taken <= change.delivered <= self.n_taken:
            fail(f"{change} is counted, where {self.n_surely_taken} to {self.n_taken} were delivered")
        if change.expired > self.n_gone:
            fail(f"{change.expired} expired are counted, of {self.n_gone}")
        for reason in counted | self.denied:
            least, most = self.denied[reason], self.denied[reason] + self.maybe_denied[reason]
            if not least <= counted[reason] <= most:
                fail(f"{change} is counted, where {least} to {most} were {reason}")
        if change.expired + sum(counted.values()) - sum(self.denied.values()) < self.n_missing:
            fail(f"{self.n_missing} events are gone, and not counted: {change}")


class Oracle:
    """Hears of everything, and raises `Violation` at the step that breaks a rule."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.events: dict[int, SimEvent] = {}
        self.offset_of: dict[str, int] = {}
        self.acked: set[str] = set()
        self.trimmed: set[int] = set()
        self.ledgers: dict[str, Ledger] = {}
        self.judge = Judge(world)
        self.seen: Counter[str] = Counter()
        """Rare things that are to happen in some run: without them the runs would prove little."""

    # The log

    def appended(self, first: int, events: Sequence[SimEvent]) -> None:
        for offset, event in enumerate(events, first):
            self.events[offset] = event
            self.offset_of[event.message_id] = offset
            self.judge.appended(offset, event)

    def acknowledged(self, offsets: Iterable[int]) -> None:
        self.acked.update(self.events[offset].message_id for offset in offsets)

    def cut(self, head: int) -> None:
        """Power was cut; what was answered must be there."""
        for offset in [offset for offset in self.events if offset > head]:
            lost = self.events.pop(offset)
            del self.offset_of[lost.message_id]
            self._must(lost.message_id not in self.acked, f"{lost.message_id} was answered 200 and is lost")

    def was_trimmed(self, before: int, tail: int) -> None:
        self.trimmed.update(range(before, tail))
        self.seen["expired"] += 1

    # Calls

    def attempt(self, process: DestinationProcess, offsets: Sequence[int], *, replay: bool) -> None:
        """A call is decided on."""
        id, now = process.id, self._world.clock.now
        store = self._world.sites[id].store.content
        for offset in offsets:
            reason = self.judge.now(offset, id)
            self._must(reason is None, f"{id} is sent event {offset}, which it may not have: {reason}")
            if replay:
                continue
            self.ledgers[id].tried.setdefault(offset, []).append(now)
            if process.epoch == store.epoch:
                cursor = 0 if self.ledgers[id].moved_under_it >= store.cursor else store.cursor
                self._must(offset > cursor, f"{id} is sent event {offset} again: its cursor is {cursor}")
            self._must(offset not in process.settled, f"{process.name} sends event {offset} again, which was settled")
            earliest = process.not_before.get(offset, 0.0)
            self._must(now >= earliest - 1e-6, f"{process.name} sends event {offset} at once, due at {earliest:.3f}")
        self._limits(process, offsets, replay=replay)

    def entered(self, process: DestinationProcess, call: Call) -> None:
        """A call begins: nothing is in it that was withdrawn by an answered call before."""
        for offset in call.offsets:
            outcome = self.judge.at_entry(offset, process.id, call.version)
            self._must(outcome != DENIED, f"{process.name} starts event {offset} after its withdrawal was answered")

    def died(self, id: str, epoch: int, calls: Sequence[Sequence[int]], replayed: Sequence[int]) -> None:
        """A process finds that the one of this epoch has ended during these calls."""
        self.seen["death in a call"] += 1
        if len(calls) == 1 and len(calls[0]) == 1 and not replayed:
            self.ledgers[id].died_alone.setdefault(calls[0][0], set()).add(epoch)

    def _limits(self, process: DestinationProcess, offsets: Sequence[int], *, replay: bool) -> None:
        limits = process.site.limits
        subjects = [self.events[offset].subject for offset in offsets]
        n_bytes = sum(len(self.events[offset].raw) for offset in offsets)
        self._must(len(offsets) <= limits.max_events, f"{process.name} sends {len(offsets)} events in a call")
        self._must(len(offsets) == 1 or n_bytes <= limits.max_bytes, f"{process.name} sends {n_bytes} bytes in a call")
        self._must(len(process.calls) < limits.in_flight, f"{process.name} has too many calls under way")
        busy = {subject for call in process.calls if not call.replay for subject in call.subjects}
        self._must(replay or not busy & set(subjects), f"{process.name} has a subject in two calls")

    def took(self, id: str, offsets: Sequence[int], *, replay: bool) -> None:
        """The vendor has these now."""
        ledger = self.ledgers[id]
        for offset in offsets:
            event = self.events.get(offset)
            if event is None:
                continue  # sent before a power cut, of an event that nobody was answered for
            if offset in ledger.taken:
                ledger.n_duplicates += 1
                continue
            ledger.taken.add(offset)
            if replay or self._lost_its_turn(id, offset):
                continue  # it has lost its turn
            newest = ledger.newest_of.get(event.subject, 0)
            self._must(newest < offset, f"{id} gets event {offset} of {event.subject} after event {newest}")
            ledger.newest_of[event.subject] = offset

    def _lost_its_turn(self, id: str, offset: int) -> bool:
        """Whether it may have been given up, which a crash can take back, or denied or buried during a call."""
        vendor, message_id = self._world.sites[id].vendor, self.events[offset].message_id
        if message_id in vendor.ever_bad or message_id in vendor.ever_sick or offset in self.trimmed:
            return True
        n_deaths = len(self.ledgers[id].died_alone.get(offset, ()))
        return n_deaths >= DEATHS_TO_BURY or self.judge.outcomes(offset, id) != {None}

    # Stores

    def claimed(self, id: str, epoch: int) -> None:
        self._world.trace.say(self._world.clock.now, f"{id}: epoch {epoch} claims the store")

    def moved(self, id: str, epoch: int, change: Moved) -> None:
        """A cursor has moved: what it passed must have ended as it was counted."""
        world, ledger = self._world, self.ledgers[id]
        if world.trace.on:
            world.trace.say(world.clock.now, f"{id}: epoch {epoch} moves the cursor {change}")
        newest = world.sites[id].store.content.epoch
        self._must(epoch == newest, f"{id}: epoch {epoch} commits although epoch {newest} has claimed the store")
        self._must(change.before <= change.after <= world.log.head(), f"{id}: the cursor moves past the log: {change}")
        if change.by_router:
            self._router_moved(id, epoch, change)
        letters = {letter.offset: letter for letter in change.letters}
        passed = range(change.before + 1, change.after + 1)
        self._must(letters.keys() <= set(passed), f"{id}: letters from nowhere")
        tally = Tally()
        for offset in passed:
            outcomes = self.judge.outcomes(offset, id)
            if offset in letters:
                self._must(None in outcomes, f"{id}: event {offset} is dead but was denied: {outcomes}")
                continue
            gone, taken = offset in self.trimmed, offset in ledger.taken
            known = taken or gone or outcomes != {None}
            self._must(known, f"{id}: event {offset} was passed, and the vendor never got it")
            tally.add(outcomes, taken=taken, gone=gone)
        tally.check(change, lambda text: self._must(False, f"{id}: {text}"))
        for letter in letters.values():
            self._buried(id, letter)
        self.exact(id)

    def _router_moved(self, id: str, epoch: int, change: Moved) -> None:
        world = self._world
        alive = [process for process in world.processes if process.alive and process.id == id]
        if any(process.epoch == epoch and process.delivers for process in alive):
            self.seen["cursor moved under a running process"] += 1
            self.ledgers[id].moved_under_it = change.after
            excused = world.ever_active & EXCUSES_STALE_ROUTER
            self._must(bool(excused), f"{id}: the router moves the cursor under the running epoch {epoch}")

    def _buried(self, id: str, letter: DeadLetter) -> None:
        event, ledger, offset = self.events[letter.offset], self.ledgers[id], letter.offset
        self.seen[f"dead letter: {letter.stage}"] += 1
        self._must(event.raw == letter.event, f"{id}: the dead letter of event {offset} is of another event")
        match letter.stage:
            case Stage.CRASHED:
                n_deaths = len(ledger.died_alone.get(offset, ()))
                self._must(n_deaths >= DEATHS_TO_BURY, f"{id}: event {offset} is buried after {n_deaths} deaths alone")
            case Stage.GIVEN_UP:
                self._given_up(id, offset, ledger.tried[offset])
            case _:
                bad = event.message_id in self._world.sites[id].vendor.ever_bad
                self._must(bad, f"{id}: event {offset} is dead, and the vendor never refused it: {letter.reason}")

    def _given_up(self, id: str, offset: int, tried: Sequence[float]) -> None:
        early = self._world.clock.now - tried[0] < self._world.give_up_after_s
        self._must(
            not early, f"{id}: event {offset} is given up {self._world.clock.now - tried[0]:.1f} s after the first try"
        )
        n = len(tried)
        self._must(n >= GIVE_UP_ATTEMPTS, f"{id}: event {offset} is given up after {n} attempts")

    def replayed(self, id: str, letters: Sequence[DeadLetter], *, delivered: bool) -> None:
        ledger = self.ledgers[id]
        for letter in letters:
            self.seen["replayed"] += 1
            if letter.offset in self.trimmed:
                continue  # the log has forgotten it, so nobody knows any more what it permits
            if not delivered:
                denied = self.judge.outcomes(letter.offset, id) != {None}
                self._must(denied, f"{id}: the letter of event {letter.offset} was denied, and never may have been")
                continue
            self._must(letter.offset in ledger.taken, f"{id}: event {letter.offset} was replayed, and never sent")

    def exact(self, id: str) -> None:
        """accepted = delivered + pending + dead + denied + expired, and every count is at least 0."""
        content, head = self._world.sites[id].store.content, self._world.log.head()
        counts = [content.delivered, content.dead, content.expired, *content.denied.values()]
        settled = sum(counts)
        self._must(min(counts) >= 0, f"{id}: a count is negative: {content}")
        accepted, pending = head - content.start, head - content.cursor
        self._must(accepted == settled + pending, f"{id}: accepted {accepted} != {settled} + pending {pending}")
        n_letters = len(content.letters)
        self._must(content.dead == n_letters, f"{id}: {content.dead} dead are counted, of {n_letters} letters")

    # Processes

    def spawns(self, supervisor: Supervisor, effect: Spawn) -> None:
        world, id = self._world, effect.id
        alive = [p for p in world.processes if p.alive and p.supervisor is supervisor]
        self._must(all(p.id != id for p in alive), f"{id} is started twice")
        limit = world.supervisor_config.max_loaded
        self._must(len(alive) < limit, f"{id} is started as number {len(alive) + 1} of {limit}")
        self._must(id not in world.pauses, f"{id} is started, and is paused")
        self._must(not supervisor.drained, f"{id} is started after the drain")
        ledger = self.ledgers[id]
        if ledger.failed_at is not None:
            earliest = ledger.failed_at + JITTER_FLOOR * world.supervisor_config.retry_delay_s
            self._must(world.clock.now >= earliest - 1e-6, f"{id} is started again at once after a failure")
        ledger.failed_at = None

    def kills(self, effect: Kill) -> None:
        if not self._world.ever_active & EXCUSES_KILL:
            raise Violation(f"{effect.id}: epoch {effect.epoch} is killed for nothing")

    # The end

    def finish(self) -> None:
        """All is quiet: everything has ended somewhere."""
        head = self._world.log.head()
        for message_id in self.acked:
            self._must(message_id in self.offset_of, f"{message_id} was answered 200 and is not in the log")
        for id, site in self._world.sites.items():
            self.exact(id)
            content, ledger = site.store.content, self.ledgers[id]
            self._must(content.cursor == head, f"{id}: {head - content.cursor} events are still pending")
            dead = {letter.offset for letter in content.letters.values()}
            for offset in range(content.start + 1, head + 1):
                outcomes = self.judge.outcomes(offset, id)
                ended = offset in ledger.taken or offset in dead or offset in self.trimmed
                self._must(ended or outcomes != {None}, f"{id}: event {offset} is lost")
                self.seen["withdrawn in time"] += not ended and {None, DENIED} <= outcomes
                self.seen["completed by the ledger"] += offset in ledger.taken and UNDECIDED in outcomes
            self.seen["duplicate"] += ledger.n_duplicates
            self.seen["delivered"] += len(ledger.taken)

    def _must(self, holds: bool, text: str) -> None:
        if not holds:
            raise Violation(text)

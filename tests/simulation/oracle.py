"""What must hold whatever happens: the judge, who sees everything and takes part in nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.letters import DeadLetter
from sluicegate.loading.effects import Kill, Spawn
from tests.simulation.clock import Violation
from tests.simulation.eventlog import SimEvent
from tests.simulation.faults import EXCUSES_KILL, EXCUSES_STALE_ROUTER
from tests.simulation.store import Moved

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.supervisor import Supervisor
    from tests.simulation.world import World

JITTER_FLOOR = 0.1
"""The least that the simulated random number of a backoff is: full jitter could be 0, and hide a missing backoff."""
MAX_RETRY_AFTER_S = 3600.0


def refusal(event: SimEvent, destination: DestinationConfig) -> str | None:
    """Why a destination may not have an event, None when it may: written apart from the product's own decision."""
    if destination.events and event.combo.type not in destination.events:
        return "event_type"
    if destination.id in event.combo.integrations_off:
        return "integrations"
    said = dict(event.combo.stamp)
    answers = [True if purpose == "necessary" else said.get(purpose) for purpose in destination.requires.all]
    if False in answers:
        return "consent_denied"
    return None if answers and all(answers) else "consent_undecided"


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
    failed_at: float | None = None
    """When the destination last failed to load or crashed, while nobody has forgiven it."""


class Oracle:
    """Hears of everything, and raises `Violation` at the step that breaks a rule."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.events: dict[int, SimEvent] = {}
        self.offset_of: dict[str, int] = {}
        self.acked: set[str] = set()
        self.trimmed: set[int] = set()
        self.ledgers: dict[str, Ledger] = {}
        self.refused: dict[tuple[int, str], str | None] = {}
        self.seen: Counter[str] = Counter()
        """Rare things that are to happen in some run: without them the runs would prove little."""

    # The log

    def appended(self, first: int, events: Sequence[SimEvent]) -> None:
        for offset, event in enumerate(events, first):
            self.events[offset] = event
            self.offset_of[event.message_id] = offset
            for id, site in self._world.sites.items():
                self.refused[offset, id] = refusal(event, site.config)

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
        """A call begins."""
        id, now = process.id, self._world.clock.now
        store = self._world.sites[id].store.content
        for offset in offsets:
            reason = self.refused[offset, id]
            self._must(reason is None, f"{id} is sent event {offset}, which it may not have: {reason}")
            if replay:
                continue
            if process.epoch == store.epoch:
                cursor = 0 if self.ledgers[id].moved_under_it >= store.cursor else store.cursor
                self._must(offset > cursor, f"{id} is sent event {offset} again: its cursor is {cursor}")
            self._must(offset not in process.settled, f"{process.name} sends event {offset} again, which was settled")
            earliest = process.not_before.get(offset, 0.0)
            self._must(now >= earliest - 1e-6, f"{process.name} sends event {offset} at once, due at {earliest:.3f}")
        self._limits(process, offsets, replay=replay)

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
            refused_once = event.message_id in self._world.sites[id].vendor.ever_bad
            if replay or refused_once or offset in self.trimmed:
                continue  # it has lost its turn
            newest = ledger.newest_of.get(event.subject, 0)
            self._must(newest < offset, f"{id} gets event {offset} of {event.subject} after event {newest}")
            ledger.newest_of[event.subject] = offset

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
        denied: Counter[str] = Counter()
        n_taken = n_rest = n_expired = 0
        for offset in range(change.before + 1, change.after + 1):
            reason = self.refused[offset, id]
            if offset in letters:
                self._must(reason is None, f"{id}: event {offset} is dead but was denied: {reason}")
            elif reason is not None and offset not in self.trimmed:
                denied[reason] += 1
            else:
                n_rest += 1
                n_taken += offset in ledger.taken
                n_expired += offset in self.trimmed
                known = offset in ledger.taken or offset in self.trimmed
                self._must(known, f"{id}: event {offset} was passed, and the vendor never got it")
        self._must(set(letters) <= set(range(change.before + 1, change.after + 1)), f"{id}: letters from nowhere")
        self._counts(id, change, denied, n_rest, n_taken=n_taken, n_expired=n_expired)
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

    def _counts(
        self, id: str, change: Moved, denied: Counter[str], n_rest: int, *, n_taken: int, n_expired: int
    ) -> None:
        if not n_expired:
            exact = change.delivered == n_taken == n_rest and not change.expired and Counter(change.denied) == denied
            self._must(exact, f"{id}: {change} is counted, where {n_taken} were delivered and {denied} denied")
            return
        missing = n_rest - n_taken
        self._must(change.expired <= n_expired, f"{id}: {change.expired} expired are counted, of {n_expired}")
        self._must(change.delivered <= n_taken, f"{id}: {change.delivered} delivered are counted, of {n_taken}")
        accounted = change.expired + sum(change.denied.values()) - sum(denied.values())
        self._must(accounted >= missing, f"{id}: {missing} events are gone, and not counted: {change}")

    def _buried(self, id: str, letter: DeadLetter) -> None:
        event = self.events[letter.offset]
        self.seen["dead letter"] += 1
        self._must(event.raw == letter.event, f"{id}: the dead letter of event {letter.offset} is of another event")
        bad = event.message_id in self._world.sites[id].vendor.ever_bad
        self._must(bad, f"{id}: event {letter.offset} is dead, and the vendor never refused it: {letter.reason}")

    def replayed(self, id: str, letters: Sequence[DeadLetter], *, delivered: bool) -> None:
        ledger = self.ledgers[id]
        for letter in letters:
            self.seen["replayed"] += 1
            if letter.offset in self.trimmed:
                continue  # the log has forgotten it, so nobody knows any more what it permits
            self._must(delivered, f"{id}: the letter of event {letter.offset} was denied, and never may have been")
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
                may = self.refused[offset, id] is None
                ended = offset in ledger.taken or offset in dead or offset in self.trimmed
                self._must(not may or ended, f"{id}: event {offset} is lost")
            self.seen["duplicate"] += ledger.n_duplicates
            self.seen["delivered"] += len(ledger.taken)

    def _must(self, holds: bool, text: str) -> None:
        if not holds:
            raise Violation(text)

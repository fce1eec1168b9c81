"""What must hold whatever happens: the judge, who sees everything and takes part in nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sluicegate.audit.words import DEAD, DELIVERED, HELD
from sluicegate.consent.regulation import Kind
from sluicegate.delivery.beyond import BLOCK, Beyond, Remembered
from sluicegate.delivery.erasing import Report
from sluicegate.delivery.holding import DEATHS_TO_BURY as RELEASED_DEATHS_TO_BURY
from sluicegate.delivery.lane import Origin
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.pace import GIVE_UP_ATTEMPTS
from sluicegate.delivery.recovery import DEATHS_TO_BURY
from sluicegate.delivery.settlement import Stage
from sluicegate.eventlog.base import Offset
from sluicegate.loading.effects import Kill, Spawn
from tests.simulation.calls import Call
from tests.simulation.clock import Violation
from tests.simulation.endings import Endings, Ledger
from tests.simulation.eventlog import SimEvent
from tests.simulation.faults import EXCUSES_KILL, Fault
from tests.simulation.judge import DENIED, ERASED, SUPPRESSED, UNDECIDED, Judge
from tests.simulation.ledger import Entry, Regulation
from tests.simulation.storefile import Moved

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.supervisor import Supervisor
    from tests.simulation.world import World

JITTER_FLOOR = 0.1
"""The least that the simulated random number of a backoff is: full jitter could be 0, and hide a missing backoff."""
MAX_RETRY_AFTER_S = 3600.0


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
        self._erased_to: dict[str, Offset] = {}
        """By subject up to where its events can be read no more."""
        self._n_erased: Counter[str] = Counter()
        self._endings = Endings(world, self.ledgers, self.trimmed, self.seen)

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

    # Regulations

    def written(self, entry: Entry) -> None:
        """The ledger has something new."""
        if not isinstance(entry, Regulation):
            return
        self.seen[f"regulated: {entry.kind}"] += 1
        for id, site in self._world.sites.items():
            theirs = {offset for offset, event in self.events.items() if event.subject == entry.subject}
            processes = [process for process in self._world.processes if process.alive and process.id == id]
            on_their_way = {offset for process in processes for call in process.calls for offset in call.offsets}
            self.seen["regulated in flight"] += not theirs.isdisjoint(on_their_way)
            self.seen["regulated while held"] += any(row.offset in theirs for row in site.store.content.held.rows)
            letters = site.store.content.letters.values()
            self.seen["regulated while dead"] += any(letter.offset in theirs for letter in letters)

    def erased(self, regulation: Regulation, report: Report) -> None:
        """A regulation has ended: nothing of its subject can be read any more, now or later."""
        subject, end = regulation.subject, regulation.head
        self.seen["erased"] += 1
        self.seen["erased events"] += report.events
        self.seen["erased letters"] += report.letters
        if regulation.kind is Kind.SUPPRESS_WITH_DELETE:
            consent = self._world.consent
            end = max(end, consent.of(subject, consent.version).suppressed_to)
        self._erased_to[subject] = max(min(end, self._world.log.head()), self._erased_to.get(subject, 0))
        self._n_erased[subject] += report.events
        if not self._world.swarm.fired[Fault.POWER_CUT]:  # it can make erasing begin again
            n_events = sum(event.subject == subject for event in self.events.values())
            self._must(self._n_erased[subject] <= n_events, f"events of {subject} are erased twice")
        self._unreadable()

    def _unreadable(self) -> None:
        """What was erased is neither in the log nor among dead letters."""
        world = self._world
        for first, raws in world.log.payloads():
            for offset, raw in enumerate(raws, first):
                self._must(not self._shows(offset, raw), f"event {offset} can still be read, which was erased")
        for id, site in world.sites.items():
            self._endings.exact(id)
            for letter in site.store.content.letters.values():
                shows = self._shows(letter.offset, letter.event)
                self._must(not shows, f"{id}: the dead letter of event {letter.offset} can still be read")

    def _shows(self, offset: Offset, raw: bytes) -> bool:
        event = self.events[offset]
        return offset <= self._erased_to.get(event.subject, 0) and b'"%s"' % event.subject.encode() in raw

    # Calls

    def attempt(self, process: DestinationProcess, offsets: Sequence[int], *, origin: Origin) -> None:
        """A call is decided on."""
        id, now, replay = process.id, self._world.clock.now, origin is Origin.LETTERS
        store = self._world.sites[id].store.content
        released = {row.offset for row in store.held.rows if row.released}
        for offset in offsets:
            if replay:
                reason = self.judge.of_letter(offset, id, self._tried_ms(id, offset))
            else:
                reason = self.judge.now(offset, id)
            self._must(reason is None, f"{id} is sent event {offset}, which it may not have: {reason}")
            quiet_until = process.quiet_until
            self._must(now >= quiet_until - 1e-6, f"{process.name} is to make no call before {quiet_until:.3f}")
            if replay:
                continue
            self.ledgers[id].tried.setdefault(offset, []).append(now)
            if process.epoch == store.epoch and origin is Origin.HELD:
                self._must(offset in released, f"{id} is sent event {offset}, which is not there to be released")
            elif process.epoch == store.epoch:
                self._must(offset > store.cursor, f"{id} is sent event {offset} again: its cursor is {store.cursor}")
                ending = store.ending(offset)
                self._must(ending is None, f"{id} is sent event {offset} again, which was committed as {ending}")
            self._must(offset not in process.settled, f"{process.name} sends event {offset} again, which was settled")
            earliest = process.not_before.get(offset, 0.0)
            self._must(now >= earliest - 1e-6, f"{process.name} sends event {offset} at once, due at {earliest:.3f}")
        self._limits(process, offsets, replay=replay)
        self._suspects(process, offsets, origin=origin)

    def _suspects(self, process: DestinationProcess, offsets: Sequence[int], *, origin: Origin) -> None:
        """The first call of an event in which an earlier process died has nothing beside it."""
        deaths = {offset for offset, _ in self._world.sites[process.id].store.content.deaths}
        suspects = deaths.intersection(offsets) - process.tried if origin is Origin.LOG else set[int]()
        beside = suspects if process.calls else process.suspects
        self._must(not beside, f"{process.name} sends {sorted(beside)}, of which one died, beside others")
        process.suspects |= suspects
        process.tried.update(offsets)

    def _tried_ms(self, id: str, offset: Offset) -> int:
        """When the event of a dead letter was first tried, as that says."""
        letters = self._world.sites[id].store.content.letters.values()
        return next((one.first_attempt_at_ms for one in letters if one.offset == offset), 0)

    def entered(self, process: DestinationProcess, call: Call) -> None:
        """A call begins: nothing is in it that was withdrawn by an answered call before."""
        for offset in call.offsets:
            tried_ms = self._tried_ms(process.id, offset) if call.replay else None
            outcome = self.judge.at_entry(offset, process.id, call.version, tried_ms=tried_ms)
            barred = outcome in (DENIED, ERASED, SUPPRESSED)
            self._must(not barred, f"{process.name} starts event {offset} after it was answered that it is {outcome}")

    def died(
        self, id: str, epoch: int, calls: Sequence[Sequence[int]], *, replayed: Sequence[int], released: Sequence[int]
    ) -> None:
        """A process finds that the one of this epoch has ended during these calls."""
        self.seen["death in a call"] += 1
        ledger = self.ledgers[id]
        if len(calls) == 1 and len(calls[0]) == 1 and not (replayed or released):
            ledger.died_alone.setdefault(calls[0][0], set()).add(epoch)
        for offset in released:
            ledger.died_released.setdefault(offset, set()).add(epoch)

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
            turns, free_from = ledger.turns_of.setdefault(event.subject, []), self.judge.of(offset, id).free_from
            for newer, newer_from in turns:
                if newer > offset and free_from <= newer_from:
                    self._must(False, f"{id} gets event {offset} of {event.subject} after event {newer}")
            turns.append((offset, free_from))
            self.seen["completed after it had waited"] += UNDECIDED in self.judge.outcomes(offset, id)

    def _lost_its_turn(self, id: str, offset: int) -> bool:
        """Whether it may have been given up, which a crash can take back, or denied or buried during a call."""
        vendor, message_id = self._world.sites[id].vendor, self.events[offset].message_id
        if message_id in vendor.ever_bad or message_id in vendor.ever_sick or offset in self.trimmed:
            return True
        ledger = self.ledgers[id]
        n_alone, n_released = len(ledger.died_alone.get(offset, ())), len(ledger.died_released.get(offset, ()))
        if n_alone >= DEATHS_TO_BURY or n_released >= RELEASED_DEATHS_TO_BURY:
            return True
        if offset in ledger.had_no_room:
            return True
        case = self.judge.of(offset, id)
        return case.now is not None or not case.outcomes <= {None, UNDECIDED}

    # Stores

    def claimed(self, id: str, epoch: int) -> None:
        self._world.trace.say(self._world.clock.now, f"{id}: epoch {epoch} claims the store")

    def moved(self, id: str, epoch: int, change: Moved) -> None:
        """A cursor has moved: what it passed must have ended as it was counted."""
        world = self._world
        if world.trace.on:
            world.trace.say(world.clock.now, f"{id}: epoch {epoch} moves the cursor {change}")
        newest = world.sites[id].store.content.epoch
        self._must(epoch == newest, f"{id}: epoch {epoch} commits although epoch {newest} has claimed the store")
        self._must(change.before <= change.after <= world.log.head(), f"{id}: the cursor moves past the log: {change}")
        if change.by_router:
            self._router_moved(id, epoch)
        letters = {letter.offset: letter for letter in change.letters}
        for offset, word in enumerate(change.words, change.before + 1):
            if (word == DEAD) != (offset in letters):
                raise Violation(f"{id}: event {offset} is {word}, and letters are of {[*letters]}")
            ended = change.settled.get(offset, word)
            self._must(word == ended, f"{id}: event {offset} is {word}, but was committed as {ended}")
            self._endings.check(id, offset, word)
            self.seen["held"] += word == HELD
        for letter in change.letters:
            self._buried(id, letter)
        if change.refused:
            self._endings.had_no_room(id, change.refused)
        self.seen["hold limit"] += len(change.refused)
        self._endings.exact(id)

    def committed(self, process: DestinationProcess) -> None:
        """A process has committed: what the vendor has confirmed to it is settled now, on disk and for good."""
        store = self._world.sites[process.id].store.content
        for offset in [offset for offset in process.settled if offset > store.cursor]:
            barred = self.judge.now(offset, process.id) in (ERASED, SUPPRESSED)
            kept = store.ending(offset) is not None
            self._must(kept or barred, f"{process.name} commits, but not that event {offset} has ended")

    def settled_beyond(self, id: str, beyond: Beyond, before: Mapping[Offset, str]) -> None:
        """A store says how events beyond its cursor have ended: they must have, and what it said before must stay."""
        store = self._world.sites[id].store.content
        for offset, word in before.items():
            stays = offset <= store.cursor or store.ending(offset) == word
            self._must(stays, f"{id}: event {offset} was committed as {word} and is {store.ending(offset)} now")
        for block in beyond.blocks:
            for ending, offsets in Remembered({block.number: block}).endings(block.first, BLOCK):
                for offset in offsets:
                    self._must(offset > store.cursor, f"{id}: event {offset} is kept, which the cursor has passed")
                    self._endings.check(id, offset, ending.word)
                    self.seen["settled beyond the cursor"] += 1
        for story in beyond.dead:
            self._endings.check(id, story.offset, DEAD)
            self.seen["dead beyond the cursor"] += 1

    def unheld(self, id: str, epoch: int, words: Mapping[Offset, str], letters: Sequence[DeadLetter]) -> None:
        """Events that were held have ended."""
        world = self._world
        if world.trace.on:
            world.trace.say(world.clock.now, f"{id}: epoch {epoch} ends what was held: {words}")
        for offset, word in words.items():
            self._endings.check(id, offset, word, now=True)
            self.seen[f"held, then {word}"] += 1
        for letter in letters:
            self.seen[f"held, then dead: {letter.stage}"] += 1
            self._buried(id, letter)
        self._endings.exact(id)

    def released(self, id: str, offsets: Sequence[Offset]) -> None:
        """Held events may go out."""
        for offset in offsets:
            self._must(None in self.judge.outcomes(offset, id), f"{id}: event {offset} is released, and may not go")

    def _router_moved(self, id: str, epoch: int) -> None:
        alive = [process for process in self._world.processes if process.alive and process.id == id]
        runs = any(process.epoch == epoch and process.delivers for process in alive)
        self._must(not runs, f"{id}: the router moves the cursor under the running epoch {epoch}")

    def _buried(self, id: str, letter: DeadLetter) -> None:
        event, ledger, offset = self.events[letter.offset], self.ledgers[id], letter.offset
        self.seen[f"dead letter: {letter.stage}"] += 1
        self._must(event.raw == letter.event, f"{id}: the dead letter of event {offset} is of another event")
        barred = self.judge.now(offset, id) in (ERASED, SUPPRESSED)
        self._must(not barred, f"{id}: event {offset} is kept as a dead letter, and nothing of its subject may be kept")
        match letter.stage:
            case Stage.CRASHED:
                n_alone, n_held = len(ledger.died_alone.get(offset, ())), len(ledger.died_released.get(offset, ()))
                enough = n_alone >= DEATHS_TO_BURY or n_held >= RELEASED_DEATHS_TO_BURY
                self._must(enough, f"{id}: event {offset} is buried after {n_alone} deaths alone")
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
        self._endings.exact(id)
        for letter in letters:
            self.seen["replayed"] += 1
            if letter.offset in self.trimmed:
                continue  # the log has forgotten it, so nobody knows any more what it permits
            if not delivered:
                denied = self.judge.outcomes(letter.offset, id) != {None}
                self._must(denied, f"{id}: the letter of event {letter.offset} was denied, and never may have been")
                continue
            self._must(letter.offset in ledger.taken, f"{id}: event {letter.offset} was replayed, and never sent")

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
        self._unreadable()
        head = self._world.log.head()
        for message_id in self.acked:
            self._must(message_id in self.offset_of, f"{message_id} was answered 200 and is not in the log")
        for id, site in self._world.sites.items():
            self._endings.exact(id)
            content, ledger = site.store.content, self.ledgers[id]
            self._must(content.cursor == head, f"{id}: {head - content.cursor} events are still pending")
            for offset, word in enumerate(content.decided, content.start + 1):
                case, taken = self.judge.of(offset, id), offset in ledger.taken
                self._must(word != HELD, f"{id}: event {offset} is held for ever")
                self._must(word != DELIVERED or taken, f"{id}: event {offset} is lost")
                self.seen["withdrawn in time"] += not taken and {None, DENIED} <= case.outcomes
                self.seen["completed by the ledger"] += taken and UNDECIDED in case.outcomes
            self.seen["duplicate"] += ledger.n_duplicates
            self.seen["delivered"] += len(ledger.taken)

    def _must(self, holds: bool, text: str) -> None:
        if not holds:
            raise Violation(text)

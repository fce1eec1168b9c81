"""How one event ended, or stands, at each destination, as the audit and the accounts have it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

from sluicegate.accounts import DAMAGED, read_accounts
from sluicegate.audit.reading import Entry
from sluicegate.audit.words import EXPIRED, HELD, Final, denied, final, reason_of
from sluicegate.config import Config
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.beyond_store import ending_of
from sluicegate.delivery.gate import REDACT, open_ledger_reader
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogError
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.explain.fate import NOT_ROUTED, Fate, letter_outcome
from sluicegate.explain.find import StoredEvent
from sluicegate.explain.ledger import LedgerTeller
from sluicegate.explain.now import Considering
from sluicegate.explain.times import time_text
from sluicegate.paths import DataDir
from sluicegate.proof import decisions_about
from sluicegate.registry import Registration

NOT_KEPT = "it was settled, but the decision is not kept any more, or was taken before decisions were kept"
BEYOND = "it counts as pending until the events before it have ended"

DISABLED = "the destination is not enabled"
NOT_PASSED = "it had not come to this event"
UNKNOWN, UNREADABLE = "unknown", "its store cannot be read"


class Fates:
    """Tells the fates of events at the destinations of a configuration, and at those that are in it no longer.

    `head` was read from the log before.
    """

    def __init__(self, config: Config, data_dir: DataDir, registered: Mapping[str, Registration], head: Offset) -> None:
        without = {name: Registration(name, 0, 0) for name in removed(config, data_dir, registered)}
        self._config = config
        self._data_dir = data_dir
        self._registered = {**without, **registered}
        self._head = head
        known = {name: self._registered[name] for name in (*config.destinations, *without) if name in self._registered}
        self._accounts = read_accounts(data_dir, known, head=head)
        self._damages = Quarantine(data_dir.root).all()
        self._reader = open_ledger_reader(data_dir, config.consent)
        self._teller = LedgerTeller(data_dir, config.consent)

    def of_removed(self, name: str, offset: Offset, event: StoredEvent | None) -> Fate:
        """The fate of the event at a destination that is in the configuration no longer: what is left of it says."""
        fate = self.of(DestinationConfig(name, "", Requirement(), enabled=False), offset, event)
        note = NOT_PASSED if fate.note == DISABLED else fate.note
        return replace(fate, configured=False, requires=None, note=note)

    def of(self, destination: DestinationConfig, offset: Offset, event: StoredEvent | None) -> Fate:
        """The fate of the event with this offset; `event` is what the log still knows of it, None when it is gone."""
        name = destination.id
        registration, account = self._registered.get(name), self._accounts.get(name)
        if registration is None:
            return Fate(name, NOT_ROUTED, note=DISABLED)
        if account is None:
            return Fate(name, UNKNOWN, note=UNREADABLE, requires=destination.requires)
        if offset <= max(self._head, account.cursor) - account.accepted:
            return Fate(name, NOT_ROUTED, note="the event came before the destination was configured")
        if offset > account.cursor:
            if not destination.enabled:
                return Fate(name, NOT_ROUTED, note=DISABLED)
            settled = self._settled_beyond(destination, offset) or self._damaged(destination, offset)
            return settled or self._waiting(destination, registration, event)
        try:
            entries = decisions_about(self._data_dir.store(name), offset)
            letter = self._letter(name, offset)
        except LogError as error:
            return Fate(name, UNKNOWN, note=f"{UNREADABLE}: {error}", requires=destination.requires)
        return self._told(destination, offset, event, entries or [], letter)

    def close(self) -> None:
        """Release the files."""
        self._reader.close()
        self._teller.close()

    def _told(
        self,
        destination: DestinationConfig,
        offset: Offset,
        event: StoredEvent | None,
        entries: list[Entry],
        letter: DeadLetter | None,
    ) -> Fate:
        name, requires = destination.id, destination.requires
        if not entries:
            if letter is not None:
                return Fate(name, letter_outcome(letter), Final.FAILED, requires=requires, letter=letter)
            return self._damaged(destination, offset) or Fate(name, "settled", note=NOT_KEPT, requires=requires)
        last = entries[-1]
        decisions = [final(entry.word) for entry in entries]
        outcome, decision, note = _outcome(last.word, decisions[-1]), decisions[-1], ""
        if decision is Final.DAMAGED and (damaged := self._damaged(destination, offset)) is not None:
            note = damaged.note
        if decision is Final.HELD and event is not None:
            note = self._held(destination, event)
        if letter is not None and decision is Final.FAILED:
            outcome = letter_outcome(letter)
        version, at_ms = last.version, last.until_ms
        required = next((entry.requires for entry in reversed(entries) if entry.requires is not None), requires)
        ledger = self._teller.tell(event, required, version=version, at_ms=at_ms, decisions=decisions)
        return Fate(
            name,
            outcome,
            decision,
            reason_of(last.word),
            note,
            requires,
            None if _same(required, requires) else required,
            tuple(entries),
            ledger,
            letter,
        )

    def _held(self, destination: DestinationConfig, event: StoredEvent) -> str:
        """Until when an event is held; or that it is not any more, but not delivered either."""
        with self._store(destination.id) as store:
            if store.held.is_released(event.offset):
                return "somebody has decided: it is on its way"
        until_ms = event.received_at_ms + round(self._config.consent.hold_ttl_s * 1_000)
        return f"until {time_text(until_ms)}"

    def _settled_beyond(self, destination: DestinationConfig, offset: Offset) -> Fate | None:
        """The event has ended, though one before it has not; None when it has not, or that is not known yet."""
        name, requires = destination.id, destination.requires
        try:
            ending = ending_of(self._data_dir.store(name), offset)
        except LogError as error:
            return Fate(name, UNKNOWN, note=f"{UNREADABLE}: {error}", requires=requires)
        if ending is None:
            return None
        decision = final(ending.word)
        return Fate(name, _outcome(ending.word, decision), decision, reason_of(ending.word), BEYOND, requires)

    def _damaged(self, destination: DestinationConfig, offset: Offset) -> Fate | None:
        for one in self._damages:
            if one.found_by == destination.id and one.first <= offset <= one.last:
                note = f"{DAMAGED}: {one.why} (events {one.first} to {one.last})"
                return Fate(destination.id, EXPIRED, Final.DAMAGED, DAMAGED, note, destination.requires)
        return None

    def _waiting(self, destination: DestinationConfig, registration: Registration, event: StoredEvent | None) -> Fate:
        """The event has not been passed; what would become of it now."""
        name, requires = destination.id, destination.requires
        waits = registration.paused_reason or "it waits in the log"
        if event is None:
            return Fate(name, "pending", note=f"{waits}, and cannot be read", requires=requires)
        try:
            considering = Considering(destination, self._config.consent, self._reader)
            reason = considering.reason(event.about, event.offset, arrived_ms=event.received_at_ms)
        except LogError as error:
            return Fate(name, "pending", note=f"it waits: {error}", requires=requires)
        if reason == REDACT:
            reason, waits = None, f"{waits}, and will go without the person"
        decision = None if reason is None else final(reason if reason == HELD else denied(reason))
        decisions = [] if decision is None else [decision]
        now_ms = time.time_ns() // 1_000_000
        ledger = self._teller.tell(event, requires, version=self._reader.version, at_ms=now_ms, decisions=decisions)
        if reason is None:
            return Fate(name, "pending", note=waits, requires=requires, ledger=ledger)
        if decision is Final.HELD:
            return Fate(name, "pending", note=f"{waits}, and will be held", requires=requires, ledger=ledger)
        outcome = _outcome(denied(reason), final(denied(reason)))
        return Fate(name, outcome, decision, reason, "it was not passed yet", requires, ledger=ledger)

    def _letter(self, name: str, offset: Offset) -> DeadLetter | None:
        if not self._data_dir.store(name).exists():
            return None
        with self._store(name) as store:
            return store.letters.at(offset)

    @contextmanager
    def _store(self, name: str) -> Iterator[DestinationStore]:
        store = DestinationStore.open(self._data_dir.store(name), start=0)
        try:
            yield store
        finally:
            store.close()


def _outcome(word: str, decision: Final) -> str:
    """The account; but what the destination did not want was not denied it."""
    return decision.value if decision in (Final.SKIPPED, Final.NOT_SELECTED) else word.partition(":")[0]


def _same(one: Requirement, other: Requirement) -> bool:
    """Whether two requirements mean the same, in whatever order their purposes are named."""
    return (set(one.all), set(one.any)) == (set(other.all), set(other.any))


def removed(config: Config, data_dir: DataDir, registered: Iterable[str]) -> list[str]:
    """The destinations of which something is known, and that are in the configuration no longer."""
    stores = [path.stem for path in data_dir.stores.glob("*.db")] if data_dir.stores.is_dir() else []
    return sorted({*registered, *stores} - {*config.destinations})


def offsets_of_letters(destinations: Iterable[str], data_dir: DataDir, message_id: str) -> list[Offset]:
    """Where events with this message id lay that are dead letters of these: the log may have let go of them.

    A store that cannot be read has none to find, and hides no others.
    """
    found: set[Offset] = set()
    for name in destinations:
        path = data_dir.store(name)
        if path.exists():
            with suppress(LogError), closing(DestinationStore.open(path, start=0)) as store:
                found.update(letter.offset for letter in store.letters.find(message_id))
    return sorted(found)

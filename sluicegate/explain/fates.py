"""How one event ended, or stands, at each destination, as the audit and the accounts have it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sluicegate.accounts import DAMAGED, read_accounts
from sluicegate.audit.reading import Entry
from sluicegate.audit.words import EXPIRED, Final, final, reason_of
from sluicegate.config import Config
from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.gate import Gate, open_ledger_reader
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogError
from sluicegate.event import About
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.explain.fate import Fate, letter_outcome
from sluicegate.explain.find import StoredEvent
from sluicegate.explain.ledger import LedgerStory, LedgerTeller
from sluicegate.paths import DataDir
from sluicegate.proof import decisions_about
from sluicegate.registry import Registration
from sluicegate.routing import Decision, decide

NOT_KEPT = "it was settled, but the decision is not kept any more, or was taken before decisions were kept"


class Fates:
    """Tells the fates of events at the destinations of a configuration; `head` was read from the log before."""

    def __init__(self, config: Config, data_dir: DataDir, registered: Mapping[str, Registration], head: Offset) -> None:
        self._config = config
        self._data_dir = data_dir
        self._registered = registered
        known = {name: registered[name] for name in config.destinations if name in registered}
        self._accounts = read_accounts(data_dir, known, head=head)
        self._damages = Quarantine(data_dir.root).all()
        self._reader = open_ledger_reader(data_dir, config.consent)
        self._teller = LedgerTeller(data_dir, config.consent)

    def of(self, destination: DestinationConfig, offset: Offset, event: StoredEvent | None) -> Fate:
        """The fate of the event with this offset; `event` is what the log still knows of it, None when it is gone."""
        name = destination.id
        registration, account = self._registered.get(name), self._accounts.get(name)
        if not destination.enabled or registration is None or account is None:
            return Fate(name, "not routed", note="the destination is not enabled")
        if offset <= registration.start:
            return Fate(name, "not routed", note="the event came before the destination was configured")
        if offset > account.cursor:
            return self._damaged(destination, offset) or self._waiting(destination, registration, event)
        entries = decisions_about(self._data_dir.store(name), offset)
        letter = self._letter(name, offset)
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
        outcome, decision, reason = last.word.partition(":")[0], final(last.word), reason_of(last.word)
        damaged = self._damaged(destination, offset) if decision is Final.DAMAGED else None
        note = damaged.note if damaged else ""
        if letter is not None and decision is Final.FAILED:
            outcome = letter_outcome(letter)
        ledger = self._ledger(destination, event, last.version, last.until_ms, decision)
        return Fate(name, outcome, decision, reason, note, requires, tuple(entries), ledger, letter)

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
            reason = self._refusal_now(destination, event)
        except LogError as error:
            return Fate(name, "pending", note=f"it waits: {error}", requires=requires)
        ledger = self._ledger(destination, event, self._reader.version, time.time_ns() // 1_000_000, None)
        if reason is None:
            return Fate(name, "pending", note=waits, requires=requires, ledger=ledger)
        decision = final(f"denied:{reason}")
        return Fate(name, "denied", decision, reason, "it was not passed yet", requires, ledger=ledger)

    def _refusal_now(self, destination: DestinationConfig, event: StoredEvent) -> str | None:
        """Why the event would not go out now, None when it would; raises `ConsentUnreadable`."""
        decision = decide(event.combo, destination)
        if decision in (Decision.EVENT_TYPE, Decision.INTEGRATIONS):
            return str(decision)
        gate = Gate(self._reader, destination.requires, self._config.consent)
        gate.refresh()
        user_id, anonymous_id = event.subject
        return gate.reasons(About([user_id], [anonymous_id], [event.time_ms], b"\x00", (event.combo,)))[0]

    def _ledger(
        self,
        destination: DestinationConfig,
        event: StoredEvent | None,
        version: int,
        at_ms: int,
        decision: Final | None,
    ) -> LedgerStory:
        return self._teller.tell(event, destination.requires, version=version, at_ms=at_ms, decision=decision)

    def _letter(self, name: str, offset: Offset) -> DeadLetter | None:
        path = self._data_dir.store(name)
        if not path.exists():
            return None
        store = DestinationStore.open(path, start=0)
        try:
            return store.letters.at(offset)
        finally:
            store.close()


def offsets_of_letters(config: Config, data_dir: DataDir, message_id: str) -> list[Offset]:
    """Where events with this message id lay that are dead letters: the log may have let go of them."""
    found: set[Offset] = set()
    for name in config.destinations:
        path = data_dir.store(name)
        if path.exists():
            store = DestinationStore.open(path, start=0)
            try:
                found.update(letter.offset for letter in store.letters.find(message_id))
            finally:
                store.close()
    return sorted(found)

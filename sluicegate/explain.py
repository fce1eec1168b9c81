"""What happened to one event at each destination, told from the log, the stores and the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sluicegate.accounts import DAMAGED, Account, read_accounts
from sluicegate.config import Config
from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.eventlog.quarantine import Damage, Quarantine
from sluicegate.paths import DataDir
from sluicegate.registry import Registration
from sluicegate.routing import Decision, decide, may_be_redacted

READ_EVENTS = 50_000
READ_BYTES = 64 * 1024 * 1024  # of the rows' sizes; only their meta is read


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Where an event lies in the log, when it came, and what routing and consent know of it."""

    offset: Offset
    received_at_ms: int
    time_ms: int
    combo: Combo


@dataclass(frozen=True, slots=True)
class Fate:
    """How one event ended, or stands, at one destination; `why` is in words."""

    destination: str
    outcome: str
    why: str


def find_events(log: EventLog, message_id: str) -> Iterator[StoredEvent]:
    """Every event with this message id that the log still holds, oldest first; reads the meta of the whole log."""
    after = log.tail() - 1
    while rows := log.read(after, max_events=READ_EVENTS, max_bytes=READ_BYTES):
        for row in rows:
            if row.damage is None and message_id in row.meta.message_ids:
                for index, other in enumerate(row.meta.message_ids):
                    if other == message_id:
                        combo = row.meta.combos[row.meta.combo_of[index]]
                        yield StoredEvent(row.first + index, row.received_at_ms, row.meta.times_ms[index], combo)
        after = rows[-1].last


def fates(
    event: StoredEvent,
    message_id: str,
    config: Config,
    data_dir: DataDir,
    registered: Mapping[str, Registration],
    head: Offset,
) -> list[Fate]:
    """How this event stands at each configured destination."""
    known = {name: registered[name] for name in config.destinations if name in registered}
    accounts = read_accounts(data_dir, known, head=head)
    lost = {one.found_by: one for one in Quarantine(data_dir.root).all() if one.first <= event.offset <= one.last}
    return [
        _lost(name, lost[name])
        if name in lost
        else _fate(
            event,
            destination,
            registered.get(name),
            accounts.get(name),
            _letter(data_dir, name, message_id, event),
            is_held=_is_held(data_dir, name, event),
        )
        for name, destination in config.destinations.items()
    ]


def _lost(name: str, damage: Damage) -> Fate:
    return Fate(name, "expired", f"{DAMAGED}: {damage.why} (events {damage.first} to {damage.last})")


def _fate(
    event: StoredEvent,
    destination: DestinationConfig,
    registration: Registration | None,
    account: Account | None,
    letter: DeadLetter | None,
    *,
    is_held: bool = False,
) -> Fate:
    name = destination.id
    if not destination.enabled or registration is None or account is None:
        return Fate(name, "not routed", "the destination is not enabled")
    if event.offset <= registration.start:
        return Fate(name, "not routed", "the event came before the destination was configured")
    if letter is not None:
        return _dead(name, letter)
    if is_held:
        return Fate(name, "held", f"it waits for a decision: {_consent_story(event.combo, destination)}")
    decision = decide(event.combo, destination)
    may_be_decided = decision is Decision.CONSENT_UNDECIDED and event.offset > account.cursor
    if decision is Decision.CONSENT_UNDECIDED and not may_be_decided and may_be_redacted(event.combo, destination):
        story = _consent_story(event.combo, destination)
        return Fate(name, "redacted", f"where it was refused it went without the person, if at all: {story}")
    if decision is not Decision.ALLOW and not may_be_decided:
        return Fate(name, "denied", f"{decision}: {_consent_story(event.combo, destination)}")
    if event.offset > account.cursor:
        return Fate(name, "pending", registration.paused_reason or "it waits in the log")
    return Fate(name, "delivered", _consent_story(event.combo, destination))


def _dead(name: str, letter: DeadLetter) -> Fate:
    story = f"{letter.reason} (after {letter.attempts} attempts; dead letter {letter.id})"
    outcomes = {LetterStatus.REPLAY: "being replayed", LetterStatus.DROPPED: "dead, dropped"}
    return Fate(name, outcomes.get(letter.status, "dead"), story)


def _consent_story(combo: Combo, destination: DestinationConfig) -> str:
    required = [*destination.requires.all]
    if destination.requires.any:
        required.append("one of " + ", ".join(destination.requires.any))
    stamp = ", ".join(f"{purpose}: {'granted' if granted else 'denied'}" for purpose, granted in combo.stamp)
    return f"requires {' and '.join(required)}; the event says {stamp or 'nothing'}"


def _is_held(data_dir: DataDir, name: str, event: StoredEvent) -> bool:
    path = data_dir.store(name)
    if not path.exists():
        return False
    store = DestinationStore.open(path, start=0)
    try:
        return event.offset in store.held.before(event.offset + 1, after=event.offset - 1, limit=1)
    finally:
        store.close()


def _letter(data_dir: DataDir, name: str, message_id: str, event: StoredEvent) -> DeadLetter | None:
    path = data_dir.store(name)
    if not path.exists():
        return None
    store = DestinationStore.open(path, start=0)
    try:
        return next((letter for letter in store.letters.find(message_id) if letter.offset == event.offset), None)
    finally:
        store.close()

"""The model ledger: what people decided and what was regulated, and how one process reads it.

The rules are the product's (`Gate`, `SubjectConsent`); the file and its readers are modelled. A reader sees what was
written up to its last look and nothing newer, which is the worst that is allowed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from sluicegate.consent.evidence import decision
from sluicegate.consent.regulation import Kind
from sluicegate.consent.slots import EMPTY, Slots, join, joined
from sluicegate.consent.standing import NO_END, UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.consent.subject import SECRET_BYTES, Ids, Subject, SubjectKeys
from sluicegate.errors import ConsentUnreadable
from sluicegate.eventlog.base import Offset
from tests.simulation.faults import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World

KEYS = SubjectKeys(b"k" * SECRET_BYTES)
_RULES = Rules()


@lru_cache(maxsize=1_000)
def key_of(subject: str) -> bytes:
    """The key by which the ledger knows a visitor."""
    return KEYS.anonymous(subject)


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """Something that was written about a subject; `number` counts from 1 and is the ledger's version from then on."""

    subject: str
    recorded_ms: int
    number: int = 0
    answered: bool = False
    late: frozenset[str] = frozenset()
    """Destinations of which the answer said that they had not confirmed."""

    @property
    def forgets(self) -> bool:
        """Whether what was decided before is erased."""
        return False


@dataclass(slots=True, eq=False, kw_only=True)
class Decision(Entry):
    """What somebody said about some purposes, at a time by their own clock."""

    said: dict[str, bool]
    at_ms: int


@dataclass(slots=True, eq=False, kw_only=True)
class Regulation(Entry):
    """A subject was erased or suppressed, or its suppression ended; `head` is where the log ended then."""

    kind: Kind
    head: Offset
    finished: bool = False
    report: dict[str, object] = field(default_factory=dict)

    @property
    def forgets(self) -> bool:
        return self.kind is not Kind.SUPPRESS_ONLY

    @property
    def is_open(self) -> bool:
        """Whether there are files to erase its subject from."""
        return self.kind.deletes and not self.finished


@dataclass(slots=True, eq=False, kw_only=True)
class Forgotten(Entry):
    """What a suppressed subject has said since: it goes when the regulation ends."""

    @property
    def forgets(self) -> bool:
        return True


E = TypeVar("E", bound=Entry)


@dataclass(slots=True)
class ModelLedger:
    """The ledger on disk; what was committed stays, whatever happens."""

    entries: list[Entry] = field(default_factory=list)
    of_subject: dict[str, list[Entry]] = field(default_factory=dict)
    regulated_from: int | None = None
    """The version from which on there are regulations."""
    _known: dict[tuple[str, int], SubjectConsent] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """How much was written."""
        return len(self.entries)

    def write(self, entry: E) -> E:
        """Commit something."""
        self.entries.append(entry)
        entry.number = len(self.entries)
        self.of_subject.setdefault(entry.subject, []).append(entry)
        if isinstance(entry, Regulation) and self.regulated_from is None:
            self.regulated_from = entry.number
        return entry

    def of(self, subject: str | None, version: int) -> SubjectConsent:
        """What was known of a subject at a version."""
        entries = self.of_subject.get(subject or "")
        if not entries:
            return UNKNOWN_SUBJECT
        n = bisect_right(entries, version, key=attrgetter("number"))
        if not n:
            return UNKNOWN_SUBJECT
        known = self._known.get((entries[0].subject, n))
        if known is None:
            known = self._known[entries[0].subject, n] = _standing(entries[:n])
        return known

    def about(self, subject: str) -> list[Regulation]:
        """What was regulated about a subject."""
        return [one for one in self.of_subject.get(subject, ()) if isinstance(one, Regulation)]

    def regulations(self) -> list[Regulation]:
        """Those whose files are still to be erased, the oldest first."""
        return [one for one in self.entries if isinstance(one, Regulation) and one.is_open]


def remembered(entries: Sequence[Entry]) -> list[Decision]:
    """The decisions among what was written about a subject that were not erased."""
    found: list[Decision] = []
    for one in entries:
        if one.forgets:
            found.clear()
        elif isinstance(one, Decision):
            found.append(one)
    return found


def _standing(entries: Sequence[Entry]) -> SubjectConsent:
    erased_to = suppressed_to = 0
    for one in entries:
        if not isinstance(one, Regulation):
            continue
        if one.kind.deletes:
            erased_to = max(erased_to, one.head)
        if one.kind.suppresses:
            suppressed_to = NO_END
        elif one.kind is Kind.UNSUPPRESS and suppressed_to == NO_END:
            suppressed_to = one.head
    slots: dict[str, Slots] = {}
    for said in remembered(entries):
        for purpose, writes in decision(said.said, said.at_ms, received_ms=said.recorded_ms).items():
            slots[purpose] = join(slots.get(purpose, EMPTY), joined(writes))
    if not (slots or erased_to or suppressed_to):
        return UNKNOWN_SUBJECT
    return SubjectConsent(slots, _RULES, erased_to=erased_to, suppressed_to=suppressed_to)


class ModelReader:
    """The ledger as one process reads it: the same contract as `consent.reading.LedgerReader`."""

    keys = KEYS

    def __init__(self, world: World) -> None:
        self._world = world
        self.version = 0
        self.generation = 0
        self._has_failed = False
        self._clear: set[Ids] = set()

    @property
    def has_regulated(self) -> bool:
        begins = self._world.consent.regulated_from
        return begins is not None and begins <= self.version

    @property
    def is_empty(self) -> bool:
        return not (self._has_failed or self.version)

    def refresh(self) -> None:
        """Take note of what was committed."""
        self._has_failed = False
        self._may_fail()
        newest = self._world.consent.version
        if newest != self.version:
            changed = {one.subject for one in self._world.consent.entries[self.version : newest]}
            self._clear = {ids for ids in self._clear if ids[1] not in changed}
            self.version = newest
            self.generation += 1

    def note_clear(self, subjects: Iterable[Ids]) -> None:
        """Remember, until something changes of them, that there is nothing against these subjects."""
        self._clear.update(subjects)

    def are_clear(self, user_ids: Sequence[str | None], anonymous_ids: Sequence[str | None]) -> bool:
        """Whether all of these were noted so, and nothing has changed of them."""
        self._refuse_if_failed()
        return self._clear.issuperset(zip(user_ids, anonymous_ids, strict=True))

    def of_many(self, subjects: Sequence[tuple[str | None, str | None]]) -> list[SubjectConsent]:
        """What is known of each, as of the last look."""
        self._may_fail()
        return [self._world.consent.of(visitor, self.version) for _, visitor in subjects]

    def changed_since(self, version: int) -> frozenset[bytes]:
        """The keys of the subjects about whom something was written after a version."""
        self._may_fail()
        return frozenset(key_of(one.subject) for one in self._world.consent.entries[version : self.version])

    def newest_denials(
        self, subject: Subject, purposes: Collection[str], *, gpc: bool, since_ms: int = 0
    ) -> dict[str, int]:
        """When the newest denial of each of these purposes was recorded, if not before `since_ms`."""
        self._may_fail()
        newest: dict[str, int] = {}
        for one in remembered(self._world.consent.of_subject.get(subject.anonymous_id or "", ())):
            denied = (purpose for purpose in purposes if one.said.get(purpose) is False)
            newest.update(dict.fromkeys(denied if one.recorded_ms >= since_ms else (), one.recorded_ms))
        return newest

    def _may_fail(self) -> None:
        """One that has failed goes on to fail until its next `refresh`."""
        self._refuse_if_failed()
        if self._world.swarm.chance(Fault.LEDGER_UNREADABLE):
            self._has_failed = True
            self.generation += 1
            self._clear.clear()
            self._refuse_if_failed()

    def _refuse_if_failed(self) -> None:
        if self._has_failed:
            raise ConsentUnreadable("the ledger is locked")

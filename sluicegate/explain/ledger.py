"""What the ledger had to say about one event."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.audit.words import Final
from sluicegate.config.model import ConsentConfig, Requirement
from sluicegate.consent.as_of import Known, LedgerPast
from sluicegate.consent.history import Change
from sluicegate.consent.policy import Policies
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.standing import Rules
from sluicegate.explain.find import StoredEvent
from sluicegate.paths import DataDir

_DENIALS = frozenset({Final.WITHDRAWN, Final.DENIED, Final.DENIED_AT_COLLECTION})


@dataclass(frozen=True, slots=True)
class LedgerStory:
    """What the ledger knew of an event's subject when it was decided.

    `version` is the ledger's when it was decided, `accepted_version` when the event was accepted. `known` is None for
    an event without ids, and for one that is gone from the log. `denial` is the change that denied what is required.
    """

    version: int
    model: str
    accepted_version: int | None = None
    known: Known | None = None
    denial: Change | None = None


class LedgerTeller:
    """Opens the ledger of a data directory when it is first asked, if there is one; says nothing where there is none.

    Raises `LogUnavailable` and `LogDamaged` when it is there and cannot be read.
    """

    def __init__(self, data_dir: DataDir, consent: ConsentConfig) -> None:
        self._data_dir = data_dir
        self._policy = Policies(consent).of()
        self._rules = Rules.of(consent)
        self._past: LedgerPast | None = None

    def tell(
        self, event: StoredEvent | None, requires: Requirement, *, version: int, at_ms: int, decision: Final | None
    ) -> LedgerStory:
        """What it knew at a version, by the time of the decision; `decision` None for one that is still to come."""
        model = self._policy.model.value
        purposes = {purpose for purpose in requires.purposes if purpose != NECESSARY}
        if event is None or not self._data_dir.consent.exists():
            return LedgerStory(version, model)
        if self._past is None:
            self._past = LedgerPast(self._data_dir.consent, self._data_dir.consent_key, self._rules)
        past = self._past
        accepted_version = past.version_at(event.received_at_ms)
        if event.subject.is_nobody or not purposes:
            return LedgerStory(version, model, accepted_version)
        known = past.of(event.subject, version, gpc=self._policy.honors_gpc, now_ms=at_ms)
        denials = past.denials(event.subject, purposes, up_to=version) if decision in _DENIALS else ()
        return LedgerStory(version, model, accepted_version, known, next(iter(denials), None))

    def close(self) -> None:
        """Release the files."""
        if self._past is not None:
            self._past.close()

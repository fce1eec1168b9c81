"""What the ledger had to say about one event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.audit.words import Final
from sluicegate.config.model import ConsentConfig, ConsentModel, Requirement
from sluicegate.consent.as_of import Known, LedgerPast
from sluicegate.consent.history import Change
from sluicegate.consent.policy import Policies, Policy
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.standing import Rules
from sluicegate.event import Combo
from sluicegate.explain.find import StoredEvent
from sluicegate.paths import DataDir

_DENIALS = frozenset({Final.WITHDRAWN, Final.DENIED, Final.DENIED_AT_COLLECTION, Final.REDACTED})


@dataclass(frozen=True, slots=True)
class LedgerStory:
    """What the ledger knew of an event's subject when it was decided, and what silence meant.

    `version` is the ledger's when it was decided, `accepted_version` when the event was accepted. `known` is None for
    an event without ids, and for one that is gone from the log. `turned` is the change that turned the decision: the
    denial of what is required, or the grant that released a held event.
    """

    version: int
    model: str = ""
    place: str = ""
    accepted_version: int | None = None
    known: Known | None = None
    turned: Change | None = None


class LedgerTeller:
    """Opens the ledger of a data directory when it is first asked, if there is one; says nothing where there is none.

    Raises `LogUnavailable` and `LogDamaged` when it is there and cannot be read.
    """

    def __init__(self, data_dir: DataDir, consent: ConsentConfig) -> None:
        self._data_dir = data_dir
        self._policies = Policies(consent)
        self._allows_unasked = consent.allow_unasked
        self._rules = Rules.of(consent)
        self._past: LedgerPast | None = None

    def tell(
        self,
        event: StoredEvent | None,
        requires: Requirement,
        *,
        version: int,
        at_ms: int,
        decisions: Sequence[Final],
    ) -> LedgerStory:
        """What it knew at a version, by the time of the newest of the `decisions`; none for what is still to come."""
        if event is None:
            return LedgerStory(version)
        policy, place = self._policy(event.combo), event.combo.place
        purposes = {purpose for purpose in requires.purposes if purpose != NECESSARY}
        if not self._data_dir.consent.exists():
            return LedgerStory(version, policy.model, place)
        if self._past is None:
            self._past = LedgerPast(self._data_dir.consent, self._data_dir.consent_key, self._rules)
        past = self._past
        accepted_version = past.version_at(event.received_at_ms)
        if event.subject.is_nobody or not purposes:
            return LedgerStory(version, policy.model, place, accepted_version)
        last = decisions[-1] if decisions else None
        released = last is Final.DELIVERED and Final.HELD in decisions
        changes: Sequence[Change] = ()
        if released or last in _DENIALS:
            changes = past.changes(event.subject, purposes, granted=released, up_to=version, gpc=policy.honors_gpc)
        known = past.of(event.subject, version, gpc=policy.honors_gpc, now_ms=at_ms)
        return LedgerStory(version, policy.model, place, accepted_version, known, next(iter(changes), None))

    def close(self) -> None:
        """Release the files."""
        if self._past is not None:
            self._past.close()

    def _policy(self, combo: Combo) -> Policy:
        policy = self._policies.of_place(combo.place)
        unasked = combo.unasked and self._allows_unasked
        return policy._replace(model=ConsentModel.OPT_OUT) if unasked else policy

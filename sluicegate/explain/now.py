"""What would become of events if a destination considered them now; changes nothing."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.config.model import ConsentConfig, DestinationConfig, Requirement, consent_of, redacts_for
from sluicegate.consent.reading import LedgerReader
from sluicegate.delivery.gate import Gate
from sluicegate.event import About
from sluicegate.eventlog.base import Offset
from sluicegate.routing import Decision, decide

_LEFT_TO_CONSENT = frozenset({Decision.ALLOW, Decision.CONSENT_DENIED, Decision.CONSENT_UNDECIDED})


class Considering:
    """The decisions of one destination by its configuration, the events' stamps and the ledger as it is.

    Raises `ConsentUnreadable` when the ledger cannot be read.
    """

    def __init__(
        self,
        destination: DestinationConfig,
        consent: ConsentConfig,
        reader: LedgerReader,
        *,
        requires: Requirement | None = None,
    ) -> None:
        self._destination = destination if requires is None else replace(destination, requires=requires)
        consent = consent_of(destination, consent)
        self._gate = Gate(reader, self._destination.requires, consent, redacts_for=redacts_for(destination))
        reader.refresh()  # and not the gate, which would begin a ledger to redact by

    def reasons(self, about: About, offsets: range, *, arrived_ms: int) -> list[str | None]:
        """For each event at these offsets None when it would go, `HELD`, `REDACT`, or why not.

        They arrived together.
        """
        fixed = [self._but_for_consent(decide(combo, self._destination)) for combo in about.combos]
        if all(fixed):
            return [fixed[code] for code in about.codes]
        found = self._gate.reasons(about, arrived_ms=arrived_ms)
        barred = self._gate.barred(about.whose, list(offsets))
        columns = zip(about.codes, barred, found, strict=True)
        return [fixed[code] or regulated or reason for code, regulated, reason in columns]

    def reason(self, about: About, offset: Offset, *, arrived_ms: int) -> str | None:
        """The same for one event."""
        return self.reasons(about, range(offset, offset + 1), arrived_ms=arrived_ms)[0]

    @staticmethod
    def _but_for_consent(decision: Decision) -> str | None:
        return None if decision in _LEFT_TO_CONSENT else str(decision)

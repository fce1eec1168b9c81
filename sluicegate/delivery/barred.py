"""Which events may go nowhere, whatever anybody consented to: of people who were erased, or are suppressed."""

from __future__ import annotations

from collections.abc import Sequence

from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import SubjectConsent
from sluicegate.delivery.whose import envelope, text_id
from sluicegate.event import EventType
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.runs import Run


def with_barred(
    reasons: Sequence[str | None], known: Sequence[SubjectConsent], offsets: Sequence[Offset]
) -> Sequence[str | None]:
    """The reasons, where an event was erased or its subject suppressed with that instead."""
    if not any(who.is_regulated for who in known):
        return reasons
    columns = zip(reasons, known, offsets, strict=True)
    return [who.barred(offset) or reason for reason, who, offset in columns]


def with_barred_aliases(reasons: Sequence[str | None], run: Run, ledger: LedgerReader) -> Sequence[str | None]:
    """The reasons of a run's events, none for all that may go; an alias also carries the id that it replaces."""
    about = run.about if ledger.has_regulated else None
    if about is None:
        return reasons
    aliases = {code for code, combo in enumerate(about.combos) if combo.type == EventType.ALIAS}
    places = [place for place, code in enumerate(about.codes) if code in aliases]
    if not places:
        return reasons
    raws, found = run.raws, list(reasons) or [None] * run.n_events
    for place in places:
        previous = text_id(envelope(raws[place]).get("previousId"))
        either = ledger.of_many([(previous, None), (None, previous)])  # Segment lets it be either kind
        barred = [reason for who in either if (reason := who.barred(run.log_offsets[place]))]
        found[place] = min(barred, default=found[place])
    return found

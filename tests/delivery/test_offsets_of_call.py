from __future__ import annotations

from sluicegate.delivery.reader import offsets_of_call
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.routing import Decision

REASONS = {"yes": None, "open": Decision.CONSENT_UNDECIDED, "no": Decision.CONSENT_DENIED}


def decide(combo: Combo) -> str | None:
    return REASONS[combo.source]


def log_of(*sources: str) -> MemoryLog:
    log, n = MemoryLog(), len(sources)
    names = [f"m{index}" for index in range(n)]
    combos = [Combo("track", source) for source in sources]
    log.append([EventBatch(combos, names, [None] * n, [*names], [0] * n, [b"{}"] * n, 2 * n)], received_at_ms=0)
    return log


def test_call_had_the_permitted_events_of_its_span() -> None:
    log = log_of("yes", "no", "yes", "open", "yes", "yes")

    assert offsets_of_call(log, decide, n_events=3, first=1, last=5) == [1, 3, 5]


def test_call_may_have_had_what_the_ledger_completed() -> None:
    log = log_of("open", "no", "open", "yes", "open")

    assert offsets_of_call(log, decide, n_events=3, first=1, last=4) == [1, 3, 4]
    assert offsets_of_call(log, decide, n_events=1, first=5, last=5) == [5]

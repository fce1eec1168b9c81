"""A ledger beside a log: what people decide while their events wait."""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.consent.evidence import Entry, Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.paths import DataDir

EVENT_MS = 1_700_000_000_000
"""When the events of tests happened."""
LATER_MS = EVENT_MS + 1_000


def told(granted: bool, *, visitor: str | None = "visitor", user: str | None = None, at_ms: int = LATER_MS) -> Told:
    """A decision about measurement and marketing."""
    writes = decision({"measurement": granted, "marketing": granted}, at_ms, received_ms=at_ms)
    return Told(Subject(user, visitor), writes, Evidence.API, "web")


def identified(visitor: str, user: str) -> Link:
    """The visitor turned out to be this user."""
    return Link(Subject(anonymous_id=visitor), user, EVENT_MS)


def record(data_dir: DataDir, entries: Iterable[Entry]) -> int:
    """Write to the ledger as another process would; the version."""
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        return ledger.record(list(entries), now_ms=LATER_MS).version
    finally:
        ledger.close()

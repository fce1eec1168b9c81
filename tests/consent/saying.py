"""People and what is told of their consent."""

from __future__ import annotations

from sluicegate.consent.evidence import Evidence, Link, Told, decision, stamp_writes
from sluicegate.consent.requirement import State
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView

G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED
ANNE = Subject(user_id="anne")
PHONE, LAPTOP = Subject(anonymous_id="phone"), Subject(anonymous_id="laptop")
ANNE_ON_PHONE = Subject("anne", "phone")
NOW_MS = 1_000


def told(subject: Subject, granted: bool, at_ms: int, *, purpose: str = "marketing") -> Told:
    return Told(subject, decision({purpose: granted}, at_ms, received_ms=NOW_MS), Evidence.API, "web")


def seen(subject: Subject, granted: bool, time_ms: int) -> Told:
    writes = stamp_writes({"marketing": granted}, time_ms=time_ms, received_ms=NOW_MS)
    return Told(subject, writes, Evidence.STAMP, "web")


def identify(anonymous_id: str, user_id: str, at_ms: int = 1) -> Link:
    return Link(Subject(anonymous_id=anonymous_id), user_id, at_ms)


def alias(previous_id: str, user_id: str, at_ms: int = 1) -> Link:
    return Link(Subject(previous_id, previous_id), user_id, at_ms, Evidence.ALIAS)


def state(view: LedgerView, subject: Subject, purpose: str = "marketing") -> State:
    view.refresh()
    return view.of(subject).standings(gpc=True, now_ms=NOW_MS).of(purpose).state

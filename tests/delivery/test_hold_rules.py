from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.config.model import ConsentConfig, ConsentModel, OnUndecided, Requirement
from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.past import MAX_BEFORE
from sluicegate.consent.regulation import Kind, SubjectKind, regulate
from sluicegate.consent.subject import Subject
from sluicegate.delivery.gate import HELD, Gate, open_ledger_reader
from sluicegate.event import About, Combo
from sluicegate.paths import DataDir

ARRIVED_MS = 1_000_000
TTL_S = 100
UNTIL_MS = ARRIVED_MS + TTL_S * 1_000
SILENT = Combo("track", "web")
CONSENT = ConsentConfig(ttl_s=0, hold_ttl_s=TTL_S)

moments = st.integers(ARRIVED_MS - 50_000, UNTIL_MS + 50_000)
decisions = st.lists(st.tuples(moments, st.booleans()), max_size=6, unique_by=lambda one: one[0]).map(sorted)


def about(*combos: Combo, subject: str | None = "anne", time_ms: int = ARRIVED_MS - 500) -> About:
    n = len(combos)
    return About([None] * n, [subject] * n, [time_ms] * n, bytes(range(n)), combos)


def gate_of(data_dir: DataDir, consent: ConsentConfig = CONSENT, *, now_ms: int = ARRIVED_MS) -> Gate:
    reader = open_ledger_reader(data_dir, consent)
    gate = Gate(reader, Requirement(("marketing",)), consent, clock_ms=lambda: now_ms)
    gate.refresh()
    return gate


@settings(max_examples=60, deadline=None)
@given(said=decisions, now_ms=st.integers(ARRIVED_MS, UNTIL_MS + 60_000))
def test_a_silent_event_goes_by_what_was_decided_since_it_arrived(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, bool]], now_ms: int
) -> None:
    data_dir = DataDir(tmp_path_factory.mktemp("data"))
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    told = [(at_ms, granted) for at_ms, granted in said if at_ms <= now_ms]
    for at_ms, granted in told:
        writes = decision({"marketing": granted}, at_ms, received_ms=at_ms)
        ledger.record([Told(Subject(None, "anne"), writes, Evidence.API)], now_ms=at_ms)
    ledger.close()
    gate = gate_of(data_dir, now_ms=now_ms)

    (reason,) = gate.reasons(about(SILENT), arrived_ms=ARRIVED_MS)

    assert reason == expected(told, now_ms)
    gate.ledger.close()


def test_each_event_goes_by_what_was_refused_since_its_own_arrival(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    for after_ms, purpose, granted in [
        (10, "marketing", False),
        *[(20 + n, "measurement", n % 2 == 0) for n in range(2 * MAX_BEFORE)],
        (1_000, "marketing", True),
    ]:
        at_ms = ARRIVED_MS + after_ms
        writes = decision({purpose: granted}, at_ms, received_ms=at_ms)
        ledger.record([Told(Subject(None, "anne"), writes, Evidence.API)], now_ms=at_ms)
    ledger.close()
    gate = gate_of(data_dir, now_ms=ARRIVED_MS + 2_000)

    reasons = [gate.reasons(about(SILENT), arrived_ms=ARRIVED_MS + after_ms) for after_ms in (900, 0, 900)]

    assert reasons == [[None], ["consent_denied"], [None]]
    gate.ledger.close()


def expected(told: list[tuple[int, bool]], now_ms: int) -> str | None:
    """Worked out anew: the last decision counts, and a refusal since the arrival ends the wait."""
    if not told:
        return HELD if now_ms <= UNTIL_MS else "hold_expired"
    last_ms, granted = told[-1]
    if not granted:
        return "consent_denied"
    if last_ms <= ARRIVED_MS - 500:
        return None
    if last_ms > UNTIL_MS:
        return "hold_expired"
    refused = any(not yes and at_ms >= ARRIVED_MS for at_ms, yes in told)
    return "consent_denied" if refused else None


def test_without_a_ledger_each_stamp_decides_and_silence_waits(tmp_path: Path) -> None:
    yes, no = Combo("track", "web", (("marketing", True),)), Combo("track", "web", (("marketing", False),))
    data_dir = DataDir(tmp_path)
    drop = ConsentConfig(on_undecided=OnUndecided.DROP)
    opt_out = ConsentConfig(model=ConsentModel.OPT_OUT)

    found = gate_of(data_dir).reasons(about(yes, no, SILENT), arrived_ms=ARRIVED_MS)
    late = gate_of(data_dir, now_ms=UNTIL_MS + 1).reasons(about(yes, no, SILENT), arrived_ms=ARRIVED_MS)
    dropped = gate_of(data_dir, drop).reasons(about(SILENT), arrived_ms=ARRIVED_MS)
    allowed = gate_of(data_dir, opt_out).reasons(about(SILENT), arrived_ms=ARRIVED_MS)
    nobody = gate_of(data_dir).reasons(about(SILENT, subject=None), arrived_ms=ARRIVED_MS)

    assert found == [None, "consent_denied", HELD]
    assert late == [None, "consent_denied", "hold_expired"]
    assert (dropped, allowed, nobody) == (["consent_undecided"], [None], ["consent_undecided"])


def test_what_a_gate_remembers_of_stamps_is_bounded_whatever_names_clients_send(tmp_path: Path) -> None:
    gate = gate_of(DataDir(tmp_path))

    tracemalloc.start()
    for number in range(100):
        stamps = [tuple((f"{number} {n} {p:0100}", False) for p in range(100)) for n in range(20)]
        assert gate._settled_codes(tuple(Combo("track", "web", stamp) for stamp in stamps)) == b""
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert n_bytes < 32_000_000


def test_held_events_of_who_was_erased_or_is_suppressed_wait_for_nothing(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    for id_, kind in (("r1", Kind.DELETE_ONLY), ("r2", Kind.SUPPRESS_ONLY)):
        subject = "erased" if kind.deletes else "suppressed"
        regulate(ledger, id_, kind, SubjectKind.ANONYMOUS_ID, [subject], head=7, now_ms=ARRIVED_MS)
    ledger.close()
    gate = gate_of(data_dir)

    found = [
        list(gate.reasons(about(SILENT, SILENT, subject=subject), arrived_ms=ARRIVED_MS, offsets=[7, 8]))
        for subject in ("erased", "suppressed", "anne")
    ]

    assert found == [["erased", HELD], ["suppressed"] * 2, [HELD] * 2]
    gate.ledger.close()

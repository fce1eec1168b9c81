from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.acceptance import Acceptance, Acceptor
from sluicegate.acceptance.collecting import Collector
from sluicegate.acceptance.times import write_ms
from sluicegate.acceptance.ways import Signals
from sluicegate.config.model import ConsentConfig, ConsentModel, GatewayConfig, PurposesConfig
from sluicegate.consent.collected import REFRESH_MS, Collected, entries_of
from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.tcf import BadTcString, read_tc_string
from tests.consent.test_tcf import ALPHABET, MEASURE, core, written

NOW_MS = 1_795_453_201_000
STRICT = ConsentConfig(
    jurisdiction_header="x-place",
    jurisdictions={"US": ConsentModel.OPT_OUT, "*": ConsentModel.OPT_IN},
    honor_dnt=True,
)

headers = st.one_of(st.binary(max_size=40), st.sampled_from([b"1", b"0", b"US", b"0, 1", b"1,"]))
cookies = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet='c.i:t,=;10markting%2A"é', max_size=60).map(lambda text: b"c15t=" + text.encode("latin-1")),
    st.text(alphabet="c.:,10markting", max_size=30).map(
        lambda text: b"c15t=c.necessary:1," + text.encode() + b",i.t:1795428000000"
    ),
)
purposes = st.lists(st.integers(1, 11), max_size=8).map(lambda found: tuple(sorted(set(found))))
good_tc_strings = purposes.map(lambda found: written(core(purposes=found)))


@st.composite
def tc_strings(draw: st.DrawFn) -> str:
    """Good ones, cut off ones, ones with changed characters, and any text."""
    text = draw(st.one_of(good_tc_strings, st.just(MEASURE)))
    match draw(st.integers(0, 3)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            place = draw(st.integers(0, len(text) - 1))
            return text[:place] + draw(st.sampled_from(ALPHABET + ".=+ é")) + text[place + 1 :]
        case 2:
            return draw(st.text(max_size=80))
    return text


def accept(*events: dict[str, Any], signals: Signals | None = None) -> Acceptance:
    acceptor = Acceptor(GatewayConfig(), PurposesConfig(vendors=(10, 755)), STRICT)
    raw = json.dumps({"batch": events}).encode()
    given = {} if signals is None else {"signals": signals}
    return acceptor.accept_batch(raw, source="web", received_at_ms=NOW_MS, **given)


def event(**members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "A", "anonymousId": "phone", "timestamp": write_ms(NOW_MS), **members}


def granted(accepted: Acceptance) -> set[str]:
    return {purpose for combo in accepted.batch.combos for purpose, value in combo.stamp if value}


@given(tc_strings(), st.booleans())
def test_statement_45_only_a_whole_tc_string_grants_and_no_string_is_an_error(text: str, in_context: bool) -> None:
    members = {"context": {"tcf": {"tcString": text}}} if in_context else {"gdpr_consent": text}

    accepted = accept(event(**members))

    assert accepted.rejected == []
    try:
        tc = read_tc_string(text)
    except BadTcString:
        assert granted(accepted) == set()
    else:
        expected = {purpose for purpose, value in tc.decided.items() if value}
        vendors = {f"tcf:{number}" for number in (10, 755) if tc.may_store and tc.allows(number)}
        assert granted(accepted) == expected | vendors


@given(cookies)
def test_no_cookie_is_an_error_or_grants_what_it_does_not_say(cookie: bytes) -> None:
    acceptor = Acceptor(GatewayConfig(), None, STRICT)

    accepted = accept(event(), signals=acceptor.ways.signals({b"cookie": cookie}))

    assert accepted.rejected == []
    if b":1" not in cookie and b":true" not in cookie and b"%" not in cookie:
        assert granted(accepted) == set()


@given(headers, headers, headers)
def test_no_header_is_an_error_or_means_more_than_it_says(gpc: bytes, dnt: bytes, place: bytes) -> None:
    acceptor = Acceptor(GatewayConfig(), None, STRICT)

    signals = acceptor.ways.signals({b"sec-gpc": gpc, b"dnt": dnt, b"x-place": place})

    parts = [part.strip(b" \t") for value in (gpc, dnt) for part in value.split(b",")]
    assert signals.gpc is (b"1" in parts)
    assert signals.place in ("US", "*", "?", "")
    assert signals.place != "US" or place.strip().upper().startswith(b"US")
    assert granted(accept(event(), signals=signals)) == set()


SUBJECTS: list[tuple[str | None, str | None]] = [
    (None, "kiosk"),
    ("anne", "phone"),
    ("anne", "tablet"),
    ("anne", None),
]
"""No device under two names: that one said the same again is noted a minute later, for each name by itself."""
actions = st.lists(
    st.tuples(
        st.sampled_from(["stamp", "stamp", "stamp", "cookie", "gpc", "api", "silent", "dated", "identify"]),
        st.sampled_from(SUBJECTS),
        st.booleans(),
        st.sampled_from([0, 1, 5, 900, REFRESH_MS]),
    ),
    min_size=1,
    max_size=14,
)


@given(actions)
@settings(max_examples=40, deadline=None)
def test_what_the_collector_keeps_back_changes_nobodys_state(steps: list[tuple[str, Any, bool, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        short, whole = Path(folder, "short"), Path(folder, "whole")
        ledgers = {path: Ledger(path, path.with_suffix(".key")) for path in (short, whole)}
        reader = LedgerReader(short, short.with_suffix(".key"), Rules())
        collector = Collector(reader, gpc_purposes=("marketing",))
        acceptor = Acceptor(GatewayConfig(), None, ConsentConfig(model=ConsentModel.OPT_OUT))
        now_ms = NOW_MS
        for kind, (user, visitor), value, later_ms in steps:
            now_ms += later_ms
            subject = Subject(user, visitor)
            if kind == "api":
                told = Told(subject, decision({"marketing": value}, now_ms, received_ms=now_ms), Evidence.API)
                for ledger in ledgers.values():
                    ledger.record([told], now_ms=now_ms)
                continue
            batch = acceptor.accept_events(
                [_raw(kind, user, visitor, value, now_ms)], consent=None, source="web", received_at_ms=now_ms
            ).batch
            ledgers[short].record(collector.collect(batch, received_ms=now_ms), now_ms=now_ms)
            collected = _collected(kind, subject, value, now_ms)
            entries = entries_of(collected, received_ms=now_ms, source="web", gpc_purposes=("marketing",))
            ledgers[whole].record(entries, now_ms=now_ms)
        ledgers[short].record(collector.rest(), now_ms=now_ms)

        assert _states(short, now_ms) == _states(whole, now_ms)
        reader.close()
        for ledger in ledgers.values():
            ledger.close()


def _raw(kind: str, user: str | None, visitor: str | None, value: bool, now_ms: int) -> bytes:
    consent: dict[str, Any] = {"marketing": value}
    if kind in ("dated", "cookie"):
        consent["givenAt"] = now_ms
    members: dict[str, Any] = {} if kind in ("silent", "gpc", "identify") else {"consent": consent}
    if kind == "gpc":
        members["context"] = {"gpc": True}
    members |= {name: one for name, one in (("userId", user), ("anonymousId", visitor)) if one is not None}
    base = {"type": "identify" if kind == "identify" else "track", "event": "A", "messageId": "m"}
    return json.dumps({**base, "timestamp": write_ms(now_ms), **members}).encode()


def _collected(kind: str, subject: Subject, value: bool, now_ms: int) -> Collected:
    type_ = "identify" if kind == "identify" else "track"
    decided = {} if kind in ("silent", "gpc", "identify") else {"marketing": value}
    at_ms = now_ms if kind in ("dated", "cookie") else None
    return Collected(type_, subject, now_ms, decided, decided_at_ms=at_ms, gpc=kind == "gpc")


def _states(path: Path, now_ms: int) -> list[tuple[State, State]]:
    reader = LedgerReader(path, path.with_suffix(".key"), Rules())
    reader.refresh()
    found = []
    for known in reader.of_many(SUBJECTS):
        with_gpc, without = (known.standings(gpc=gpc, now_ms=now_ms).of("marketing").state for gpc in (True, False))
        found.append((with_gpc, without))
    reader.close()
    return found

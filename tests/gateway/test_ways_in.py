from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import Config, ConsentConfig, ConsentModel
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.event import Combo
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from tests.consent.test_tcf import MEASURE
from tests.gateway.harness import BASIC, RunningGateway, make_config

OPT_OUT = ConsentConfig(model=ConsentModel.OPT_OUT)
GPC = b"Sec-GPC: 1\r\n"
NOW_MS = 1_800_000_000_000
G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED
StartWith = Callable[..., RunningGateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartWith]:
    started: list[RunningGateway] = []

    def make(consent: ConsentConfig = OPT_OUT, **changes: Any) -> RunningGateway:
        config = replace(make_config(tmp_path), consent=consent, **changes)
        started.append(RunningGateway(config))
        return started[-1]

    yield make
    for running in started:
        running.close()


def event(**changes: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Seen", "anonymousId": "phone", **changes}


def post(gateway: RunningGateway, *events: dict[str, Any], headers: bytes = b"", **body: Any) -> dict[str, Any]:
    client = gateway.client()
    try:
        answer = client.post("/v1/batch", {"batch": events, **body}, headers=BASIC + headers)
    finally:
        client.close()
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def state(config: Config, purpose: str, *, user: str | None = None, anonymous: str | None = "phone") -> State:
    data_dir = DataDir(config.data_dir)
    if not data_dir.consent.exists():
        return U
    view = LedgerView(data_dir.consent, data_dir.consent_key, Rules())
    try:
        return view.of(Subject(user, anonymous)).standings(gpc=True, now_ms=NOW_MS).of(purpose).state
    finally:
        view.close()


def combos(config: Config) -> list[Combo]:
    log = SqliteLog(DataDir(config.data_dir).event_log, create=False)
    try:
        rows = log.read(0, max_events=1_000, max_bytes=1 << 30)
        return [row.meta.combos[code] for row in rows for code in row.meta.combo_of]
    finally:
        log.close()


def metric(gateway: RunningGateway, name: str) -> float:
    client = gateway.client()
    try:
        lines = client.get("/metrics").body.decode().splitlines()
    finally:
        client.close()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and not line.startswith("#"))


def test_statement_42_the_header_denies_for_the_visitor_and_the_known_user(start: StartWith) -> None:
    gateway = start()
    post(gateway, event(userId="anne"), headers=GPC)

    found = {
        (user, anonymous): state(gateway.config, "marketing", user=user, anonymous=anonymous)
        for user, anonymous in [("anne", None), (None, "phone"), (None, "tablet")]
    }
    assert found == {("anne", None): D, (None, "phone"): D, (None, "tablet"): U}
    assert state(gateway.config, "measurement") is U
    assert [dict(combo.stamp) for combo in combos(gateway.config)] == [{"marketing": False}]
    assert metric(gateway, 'sluicegate_consent_writes_total{evidence="gpc"}') == 1


@pytest.mark.parametrize("headers", [b"", b"Sec-GPC: 0\r\n", b"Sec-GPC: true\r\n", b"Sec-GPC:  1 x\r\n", b"DNT: 1\r\n"])
def test_statement_42_anything_else_sets_nothing(start: StartWith, headers: bytes) -> None:
    gateway = start()
    post(gateway, event(), headers=headers)

    assert state(gateway.config, "marketing") is U


@pytest.mark.parametrize("headers", [b"Sec-GPC: 0\r\nSec-GPC: 1\r\n", b"sec-gpc: 1\r\nSEC-GPC: 0\r\n"])
def test_statement_42_of_two_headers_the_one_that_denies_counts(start: StartWith, headers: bytes) -> None:
    gateway = start()
    post(gateway, event(), headers=headers)

    assert state(gateway.config, "marketing") is D


def test_statement_42_no_header_clears_and_grants(start: StartWith) -> None:
    gateway = start()
    post(gateway, event(), headers=GPC)
    for headers in (b"", b"Sec-GPC: 0\r\n"):
        post(gateway, event(consent={"marketing": True}), headers=headers)
    post(gateway, event(consent={"marketing": True, "givenAt": NOW_MS}))

    assert state(gateway.config, "marketing") is D


def test_statement_42_gpc_denies_what_the_configuration_names(start: StartWith) -> None:
    gateway = start(replace(OPT_OUT, gpc_purposes=("marketing", "measurement")))
    post(gateway, event(), headers=GPC)

    assert [state(gateway.config, purpose) for purpose in ("marketing", "measurement")] == [D, D]


def test_statement_43_gpc_has_no_effect_where_it_is_not_honoured(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    post(gateway, event(context={"gpc": True}), headers=GPC)

    assert state(gateway.config, "marketing") is U
    assert combos(gateway.config)[0].stamp == ()


def test_statement_43_dnt_counts_where_it_is_honoured(start: StartWith) -> None:
    gateway = start(replace(OPT_OUT, honor_dnt=True))
    post(gateway, event(), headers=b"DNT: 1\r\n")

    assert state(gateway.config, "marketing") is D


def test_statement_43_a_server_tells_gpc_on_the_event(start: StartWith) -> None:
    gateway = start()
    post(gateway, event(context={"gpc": True}), event(anonymousId="tablet", context={"gpc": "1"}))

    assert [state(gateway.config, "marketing", anonymous=one) for one in ("phone", "tablet")] == [D, U]


def test_a_request_whose_head_is_known_has_its_signals_too(start: StartWith) -> None:
    gateway = start()
    client = gateway.client()
    for name in ("a", "b", "c"):
        client.post("/v1/track", event(anonymousId=name), headers=BASIC + GPC)
    client.close()

    assert [state(gateway.config, "marketing", anonymous=name) for name in "abc"] == [D, D, D]


def test_statement_45_a_tc_string_is_in_the_ledger(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    post(gateway, event(context={"tcf": {"tcString": MEASURE}}), event(anonymousId="tablet", gdpr_consent=MEASURE[:-2]))

    assert [state(gateway.config, purpose) for purpose in ("measurement", "marketing")] == [G, D]
    assert state(gateway.config, "measurement", anonymous="tablet") is U
    assert metric(gateway, "sluicegate_consent_malformed_total") == 1
    assert metric(gateway, 'sluicegate_consent_writes_total{evidence="tcf"}') == 1


def test_the_cookie_of_c15t_is_a_decision_for_events_without_one(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    cookie = b"Cookie: a=b\r\nCookie: c15t=c.necessary:1,c.measurement:1,i.t:1795428000000; d=e\r\n"
    post(gateway, event(), event(anonymousId="tablet", consent={"marketing": True}), headers=cookie)

    assert [state(gateway.config, purpose) for purpose in ("measurement", "marketing")] == [G, D]
    assert [state(gateway.config, purpose, anonymous="tablet") for purpose in ("measurement", "marketing")] == [U, G]
    assert [dict(combo.stamp).get("measurement") for combo in combos(gateway.config)] == [True, None]


def test_a_consent_event_of_c15t_in_a_batch_is_a_decision(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    told = {"type": "consent", "action": "revoked", "anonymousId": "phone", "secret": "x"}
    answer = post(gateway, event(consent={"marketing": True}), told, {"type": "consent", "anonymousId": "phone"})

    assert [rejection["index"] for rejection in answer["rejected"]] == [2]
    assert [state(gateway.config, purpose) for purpose in ("measurement", "marketing")] == [D, D]
    assert [combo.type for combo in combos(gateway.config)] == ["track", "consent"]
    assert "secret" not in gateway.stored()[1]


def test_the_place_in_the_trusted_header_is_stored_with_the_event(start: StartWith) -> None:
    jurisdictions = {"US": ConsentModel.OPT_OUT, "DE": ConsentModel.OPT_IN}
    gateway = start(ConsentConfig(jurisdiction_header="cf-ipcountry", jurisdictions=jurisdictions))
    for headers in (b"CF-IPCountry: US\r\n", b"cf-ipcountry: de\r\n", b"CF-IPCountry: US\r\nCF-IPCountry: DE\r\n", b""):
        post(gateway, event(), headers=headers + GPC)

    assert [(combo.place, combo.stamp) for combo in combos(gateway.config)] == [
        ("US", (("marketing", False),)),
        ("DE", ()),
        ("?", ()),
        ("", ()),
    ]


def test_a_header_that_nobody_trusts_is_not_read(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    post(gateway, event(), headers=b"CF-IPCountry: US\r\n")

    assert combos(gateway.config)[0].place == ""


def test_statement_23_conflicts_are_counted(start: StartWith) -> None:
    gateway = start(ConsentConfig())
    client = gateway.client()
    client.post("/v1/consent", {"userId": "anne", "preferences": {"marketing": False}})
    client.close()
    post(gateway, event(userId="anne", consent={"marketing": True}))

    assert metric(gateway, "sluicegate_consent_conflict_total") == 1
    assert metric(gateway, 'sluicegate_consent_writes_total{evidence="api"}') == 1
    assert state(gateway.config, "marketing", user="anne") is D


def test_statement_5_events_are_accepted_whatever_stands_in_the_headers(start: StartWith) -> None:
    gateway = start(replace(OPT_OUT, jurisdiction_header="x-place", honor_dnt=True))
    odd = (b"", b"\xff\xfe", b"1" * 8_000, b"c15t=" + b"%25" * 2_000, b"c15t=c.marketing:1,i.t:" + b"9" * 500, b";;;=,")
    for value in odd:
        lines = b"".join(name + b": " + value + b"\r\n" for name in (b"Sec-GPC", b"DNT", b"Cookie", b"X-Place"))
        if len(lines) < 30_000:
            post(gateway, event(), headers=lines)

    assert state(gateway.config, "marketing") is U
    assert {combo.stamp for combo in combos(gateway.config)} == {()}


def test_what_waits_in_the_collector_is_written_when_the_gateway_ends(tmp_path: Path) -> None:
    gateway = RunningGateway(replace(make_config(tmp_path), consent=ConsentConfig()))
    times = ["2026-11-23T10:00:00.000Z", "2026-11-23T10:00:05.000Z"]
    for time in times:
        post(gateway, event(timestamp=time, consent={"marketing": True}))
    gateway.close()

    data_dir = DataDir(gateway.config.data_dir)
    view = LedgerView(data_dir.consent, data_dir.consent_key, Rules())
    slots = view.of(Subject(None, "phone")).slots["marketing"]
    view.close()
    assert slots.seen // 2 == 1_795_428_005_000


def test_statement_41_what_nobody_says_is_not_kept_in_the_ledger(start: StartWith) -> None:
    gateway = start()
    client = gateway.client()
    nobody = {"type": "track", "event": "Seen", "consent": {"marketing": True, "measurement": False}}
    status = client.post("/api/s/track", nobody, headers=BASIC + GPC).status
    client.close()

    assert status == 200
    assert not DataDir(gateway.config.data_dir).consent.exists()
    assert [dict(combo.stamp) for combo in combos(gateway.config)] == [{"marketing": False, "measurement": False}]

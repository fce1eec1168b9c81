from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import ConsentConfig, ConsentModel, PurposesConfig
from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.paths import DataDir
from tests.gateway.harness import Client, RunningGateway, batch, make_config, request

ANNE = Subject(user_id="anne")
REFUSAL = {"userId": "anne", "preferences": {"marketing": False, "measurement": True}}


def state(gateway: RunningGateway, subject: Subject, purpose: str) -> State:
    data_dir = DataDir(gateway.config.data_dir)
    view = LedgerView(data_dir.consent, data_dir.consent_key, Rules())
    try:
        return view.of(subject).standings(gpc=True, now_ms=1).of(purpose).state
    finally:
        view.close()


def test_statement_31_a_decision_is_in_the_ledger_when_it_is_answered(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/consent", REFUSAL)

    assert (answer.status, answer.json["success"], answer.json["version"]) == (200, True, 1)
    assert state(gateway, ANNE, "marketing") is State.DENIED
    assert state(gateway, ANNE, "measurement") is State.GRANTED


def test_the_same_decision_twice_is_answered_alike(gateway: RunningGateway, client: Client) -> None:
    decided = {**REFUSAL, "decidedAt": "2026-01-31T10:00:00Z"}

    answers = [client.post("/v1/consent", decided).json for _ in range(2)]

    assert [(answer["success"], answer["version"]) for answer in answers] == [(True, 1)] * 2


def test_history_names_the_source_of_the_write_key(gateway: RunningGateway, client: Client) -> None:
    client.post("/v1/consent?writeKey=shop-key", REFUSAL, headers=b"")
    client.post("/v1/consent", {**REFUSAL, "userId": "ben", "writeKey": "web-key"}, headers=b"")

    data_dir = DataDir(gateway.config.data_dir)
    ledger = Ledger(data_dir.consent, data_dir.consent_key, create=False)
    sources = [history(ledger, Subject(name))[0].source for name in ("anne", "ben")]
    ledger.close()
    assert sources == ["shop", "web"]


def test_a_compressed_decision_is_taken(gateway: RunningGateway, client: Client) -> None:
    body = gzip.compress(json.dumps(REFUSAL).encode())

    assert client.post("/v1/consent", body).status == 200
    assert state(gateway, ANNE, "marketing") is State.DENIED


@pytest.mark.parametrize("headers", [b"", b"Authorization: Bearer wrong-key\r\n"])
def test_who_has_no_write_key_decides_nothing(gateway: RunningGateway, client: Client, headers: bytes) -> None:
    answer = client.post("/v1/consent", REFUSAL, headers=headers)

    assert (answer.status, answer.json["code"]) == (401, "invalid_write_key")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "not_json"),
        (b"[]", "not_object"),
        ({"preferences": {"marketing": True}}, "no_subject"),
        ({"userId": "anne"}, "bad_preferences"),
        ({"userId": "anne", "preferences": {"marketing": "true"}}, "bad_preferences"),
        ({"userId": "anne", "preferences": {"marketing": True}, "decidedAt": "x"}, "bad_time"),
        ({"userId": {}, "preferences": {"marketing": True}}, "bad_subject"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_code(client: Client, body: Any, code: str) -> None:
    answer = client.post("/v1/consent", body)

    assert (answer.status, answer.json["code"], answer.json["success"]) == (400, code, False)


@pytest.mark.parametrize("body", [b" " * 40_000, gzip.compress(b" " * 40_000)], ids=["plain", "gzip"])
def test_a_decision_is_not_larger_than_an_event(client: Client, body: bytes) -> None:
    answer = client.post("/v1/consent", body)

    assert answer.status == 413
    assert "32768 bytes" in answer.json["message"]
    assert "max_body_size" not in answer.json["message"]  # it would change nothing


def test_decisions_are_posted(client: Client) -> None:
    assert client.get("/v1/consent").status == 405


def test_many_decisions_at_once_are_all_written(gateway: RunningGateway) -> None:
    def decide(number: int) -> int:
        connected = gateway.client()
        try:
            return connected.post("/v1/consent", {**REFUSAL, "userId": f"user {number}"}).status
        finally:
            connected.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(decide, range(64)))

    assert statuses == [200] * 64
    assert {state(gateway, Subject(f"user {n}"), "marketing") for n in range(64)} == {State.DENIED}


def test_statement_32_a_damaged_ledger_stops_decisions_and_not_events(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    DataDir(config.data_dir).consent.write_bytes(b"x" * 8192)
    gateway = RunningGateway(config)
    client = gateway.client()
    try:
        refused, taken = client.post("/v1/consent", REFUSAL), client.post("/v1/batch", batch("a"))
        DataDir(config.data_dir).consent.unlink()
        again = client.post("/v1/consent", REFUSAL)
    finally:
        client.close()
        gateway.close()

    assert (refused.status, refused.json["code"]) == (503, "ledger_unavailable")
    assert (taken.status, again.status) == (200, 200)


def test_what_runs_after_the_write_has_the_last_word_before_the_answer(gateway: RunningGateway, client: Client) -> None:
    released = threading.Event()
    pending: list[Any] = []

    def barrier(told: Any, recorded: Any, answer: Any) -> None:
        pending.append((recorded.version, answer))
        released.set()

    gateway.call(lambda: setattr(gateway.server._consent, "_after_write", barrier))
    client.send(request("/v1/consent", REFUSAL))
    assert released.wait(10)
    version, answer = pending[0]
    gateway.call(lambda: answer({"stopped": {"crm": 3}}))

    assert client.answer().json == {"success": True, "version": version, "stopped": {"crm": 3}}
    assert state(gateway, ANNE, "marketing") is State.DENIED


def test_aliases_of_the_configuration_are_known(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    object.__setattr__(config, "purposes", PurposesConfig((), {"C0002": "measurement"}))
    gateway = RunningGateway(config)
    client = gateway.client()
    try:
        client.post("/v1/consent", {"userId": "anne", "preferences": {"C0002": True}})
    finally:
        client.close()
        gateway.close()

    assert state(gateway, ANNE, "measurement") is State.GRANTED


@pytest.mark.parametrize(("model", "status"), [(ConsentModel.OPT_IN, 404), (ConsentModel.OPT_OUT, 200)])
def test_statement_44_gpc_is_announced_where_it_is_honoured(tmp_path: Path, model: ConsentModel, status: int) -> None:
    config = make_config(tmp_path)
    object.__setattr__(config, "consent", ConsentConfig(model=model))
    gateway = RunningGateway(config)
    client = gateway.client()
    try:
        answer = client.get("/.well-known/gpc.json")
    finally:
        client.close()
        gateway.close()

    assert answer.status == status
    assert (answer.json.get("gpc") is True) == (status == 200)

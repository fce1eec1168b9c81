from __future__ import annotations

import base64
import errno
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.secret import Secret
from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, SubjectKind, regulate
from sluicegate.consent.subject import Subject
from sluicegate.consent.suppressed import SuppressedCount, read_suppressed
from sluicegate.delivery.regulating import put_in_force
from sluicegate.paths import DataDir
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Answered, Client, RunningGateway, batch, request, track

REGULATION_KEY = "privacy-key"
AUTHORIZED = b"Authorization: Bearer " + REGULATION_KEY.encode() + b"\r\n"
BODY = {"regulationType": "SUPPRESS_WITH_DELETE", "subjectType": "USER_ID", "subjectIds": ["anne"]}
PATH = "/v1/regulations"


@pytest.fixture
def gateway(start_gateway: StartGateway) -> RunningGateway:
    return start_gateway({"regulation_keys": {"privacy": Secret(REGULATION_KEY)}})


def get(client: Client, id_: str, *, headers: bytes = AUTHORIZED) -> Answered:
    return client.ask(f"GET {PATH}/{id_} HTTP/1.1\r\nHost: a\r\n".encode() + headers + b"\r\n")


def data_dir_of(gateway: RunningGateway) -> DataDir:
    return DataDir(gateway.config.data_dir)


def suppress(gateway: RunningGateway, id_: str, *, kind: Kind = Kind.SUPPRESS_ONLY) -> None:
    put_in_force(data_dir_of(gateway), kind, SubjectKind.USER_ID, [id_])


@pytest.fixture
def other(gateway: RunningGateway) -> Iterator[Client]:
    connected = gateway.client()
    yield connected
    connected.close()


def test_a_regulation_is_recorded_when_it_is_answered_and_can_be_asked_for(client: Client) -> None:
    answer = client.post(PATH, BODY, headers=AUTHORIZED)
    found = get(client, answer.json["data"]["regulateId"])

    regulation = found.json["data"]["regulation"]
    assert (answer.status, found.status) == (200, 200)
    assert (regulation["overallStatus"], regulation["regulationType"]) == ("RUNNING", "SUPPRESS_WITH_DELETE")
    assert (regulation["subjects"], regulation["finishedAt"]) == (1, None)


def test_a_regulation_may_be_compressed_like_every_body(client: Client) -> None:
    packed = gzip.compress(json.dumps(BODY).encode())

    answers = [
        client.post(PATH, packed, headers=AUTHORIZED + b"Content-Encoding: gzip\r\n"),
        client.post(PATH, packed, headers=AUTHORIZED),
        client.post(PATH, packed[:-4], headers=AUTHORIZED),
        client.post(PATH, BODY, headers=AUTHORIZED + b"Content-Encoding: br\r\n"),
    ]

    assert [(answer.status, answer.json.get("code")) for answer in answers] == [
        (200, None),
        (200, None),
        (400, "bad_gzip"),
        (415, "unsupported_encoding"),
    ]


@pytest.mark.parametrize("kind", [Kind.SUPPRESS_ONLY, Kind.UNSUPPRESS])
def test_what_erases_nothing_is_finished_at_once(client: Client, kind: Kind) -> None:
    answer = client.post(PATH, {**BODY, "regulationType": kind}, headers=AUTHORIZED)

    found = get(client, answer.json["data"]["regulateId"])
    assert found.json["data"]["regulation"]["overallStatus"] == "FINISHED"


def test_the_key_may_come_as_basic_user_name(client: Client) -> None:
    basic = b"Authorization: Basic " + base64.b64encode(REGULATION_KEY.encode() + b":") + b"\r\n"

    assert client.post(PATH, BODY, headers=basic).status == 200


@pytest.mark.parametrize("headers", [b"", BASIC, b"Authorization: Bearer wrong\r\n", b"Authorization: Bearer \r\n"])
def test_a_write_key_does_not_suffice(gateway: RunningGateway, client: Client, headers: bytes) -> None:
    told = client.post(PATH + f"?writeKey={REGULATION_KEY}", {**BODY, "writeKey": REGULATION_KEY}, headers=headers)
    asked = get(client, "0" * 32, headers=headers)

    assert [(one.status, one.json["code"]) for one in (told, asked)] == [(401, "invalid_regulation_key")] * 2
    assert not data_dir_of(gateway).consent.exists()


def test_without_configured_keys_nobody_may(start_gateway: StartGateway) -> None:
    client = start_gateway().client()
    answer = client.post(PATH, BODY)
    client.close()

    assert (answer.status, answer.json["code"]) == (403, "regulations_disabled")
    assert "regulation_keys" in answer.json["message"]


@pytest.mark.parametrize("id_", ["0" * 32, "x", "%2e%2e%2fconsent", "a" * 500])
def test_an_unknown_regulation_is_not_found(client: Client, id_: str) -> None:
    before = get(client, id_)
    client.post(PATH, BODY, headers=AUTHORIZED)
    after = get(client, id_)

    assert [before.status, after.status] == [404, 404]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b"\xff", 400, "not_utf8"),
        (b"[" * 5_000, 400, "too_deep"),
        ([], 400, "not_object"),
        ({}, 400, "bad_regulation_type"),
        ({**BODY, "regulationType": "DELETE_ALL"}, 400, "bad_regulation_type"),
        ({**BODY, "regulationType": ["DELETE_ONLY"]}, 400, "bad_regulation_type"),
        ({**BODY, "subjectType": "OBJECT_ID"}, 400, "bad_subject_type"),
        ({**BODY, "subjectType": None}, 400, "bad_subject_type"),
        ({**BODY, "subjectIds": []}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": "anne"}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": {"anne": 1}}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": ["anne", 7]}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": ["anne", ""]}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": ["a" * 256]}, 400, "bad_subjects"),
        ({**BODY, "subjectIds": [str(n) for n in range(5_001)]}, 413, "too_many_subjects"),
        (b'{"subjectIds":"' + b"a" * (5 << 20) + b'"}', 413, None),
    ],
)
def test_what_cannot_be_understood_changes_nothing(
    gateway: RunningGateway, other: Client, body: Any, status: int, code: str | None
) -> None:
    answer = other.post(PATH, body, headers=AUTHORIZED)

    assert answer.status == status
    assert code is None or answer.json["code"] == code
    assert not data_dir_of(gateway).consent.exists()


def test_five_thousand_subjects_fit_into_a_request(gateway: RunningGateway, client: Client) -> None:
    ids = [f"user-{n}" for n in range(4_999)] + ["anne"]

    client.post(PATH, {**BODY, "regulationType": "SUPPRESS_AND_DELETE", "subjectIds": ids}, headers=AUTHORIZED)

    client.post("/v1/batch", {"batch": [track("m1", userId="anne"), track("m2", userId="ben")]})
    assert [event["userId"] for event in gateway.stored()] == ["ben"]


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/pixel/v1/track"])
def test_statement_48_of_a_suppressed_person_nothing_is_stored_on_any_way(
    gateway: RunningGateway, client: Client, path: str
) -> None:
    suppress(gateway, "u1")

    if path.startswith("/pixel"):
        answer = client.get(f"{path}?writeKey=web-key&userId=u1&event=Seen&anonymousId=a")
    elif path == "/v1/batch":
        answer = client.post(path, batch("m1", "m2"))
    else:
        answer = client.post(path, track())

    assert answer.status == 200
    assert gateway.stored() == []
    assert sum(read_suppressed(data_dir_of(gateway).suppressed).values()) == (2 if path == "/v1/batch" else 1)


def test_statement_48_decisions_of_a_suppressed_person_are_not_stored(gateway: RunningGateway, client: Client) -> None:
    suppress(gateway, "u1", kind=Kind.SUPPRESS_WITH_DELETE)

    body = {"preferences": {"marketing": True}}
    answers = [client.post("/v1/consent", {**body, "userId": user}) for user in ("u1", "u2")]

    where = data_dir_of(gateway)
    ledger = Ledger(where.consent, where.consent_key)
    known = [len(history(ledger, Subject(user))) for user in ("u1", "u2")]
    ledger.close()
    assert [answer.status for answer in answers] == [200, 200]
    assert known == [0, 1]


def test_statement_48_among_requests_that_come_together_only_those_of_others_are_stored(
    gateway: RunningGateway, client: Client
) -> None:
    suppress(gateway, "u1")

    for _ in range(3):  # the head has to be known before requests are taken together
        users = [f"u{number % 3}" for number in range(8)]
        client.send(b"".join(request("/v1/track", track(f"m{n}", userId=user)) for n, user in enumerate(users)))
        answers = [client.answer() for _ in users]

    assert [(answer.status, answer.json["accepted"]) for answer in answers] == [(200, 1)] * 8
    assert {event["userId"] for event in gateway.stored()} == {"u0", "u2"}
    assert len(gateway.stored()) == 3 * 5
    assert read_suppressed(data_dir_of(gateway).suppressed) == {"http": 9, "actor": 0}


def test_count_of_suppressed_events_that_cannot_be_written_keeps_nothing_out_and_is_made_up_for(
    gateway: RunningGateway, client: Client
) -> None:
    suppress(gateway, "u1")
    path = data_dir_of(gateway).suppressed
    path.mkdir()

    answers = [client.post("/v1/batch", {"batch": [track("m1"), track("m2", userId="u2")]})]
    path.rmdir()
    answers.append(client.post("/v1/track", track("m3")))

    assert [answer.status for answer in answers] == [200, 200]
    assert [event["messageId"] for event in gateway.stored()] == ["m2"]
    assert read_suppressed(path) == {"http": 2, "actor": 0}


def test_count_of_suppressed_events_waits_for_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "suppressed"
    count = SuppressedCount(path, "http")
    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        count.add(2)
    before = read_suppressed(path)

    count.add(1)

    assert before == {"http": 0, "actor": 0}
    assert read_suppressed(path) == {"http": 3, "actor": 0}


def test_statement_48_events_of_linked_ids_and_aliases_of_a_suppressed_user_are_left_out(
    gateway: RunningGateway, client: Client
) -> None:
    client.post("/v1/identify", {"userId": "anne", "anonymousId": "device", "messageId": "m0"})
    suppress(gateway, "anne")

    events = [
        {**track("m1"), "userId": None, "anonymousId": "device"},
        {"type": "alias", "userId": "other", "previousId": "anne", "messageId": "m2"},
        {"type": "alias", "userId": "other", "previousId": "somebody", "messageId": "m3"},
    ]
    answer = client.post("/v1/batch", {"batch": events})

    assert answer.json["accepted"] == 3
    assert [event["messageId"] for event in gateway.stored()] == ["m0", "m3"]


def test_statement_51_the_end_of_a_suppression_holds_from_the_next_event_on(
    gateway: RunningGateway, client: Client
) -> None:
    suppress(gateway, "u1")
    client.post("/v1/track", track("m1"))
    suppress(gateway, "u1", kind=Kind.UNSUPPRESS)
    client.post("/v1/track", track("m2"))

    assert [event["messageId"] for event in gateway.stored()] == ["m2"]


def test_suppressed_events_are_counted_in_the_metrics(gateway: RunningGateway, client: Client) -> None:
    suppress(gateway, "u1")
    client.post("/v1/track", track("m1"))
    gateway.call(gateway.server._note_state)

    text = client.get("/metrics").body.decode()

    assert 'sluicegate_events_suppressed_total{way="http"} 1.0' in text
    assert "sluicegate_events_accepted_total 0.0" in text


def test_a_ledger_that_cannot_be_written_is_told(gateway: RunningGateway, client: Client) -> None:
    data_dir = data_dir_of(gateway)
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    regulate(ledger, "r", Kind.SUPPRESS_ONLY, SubjectKind.USER_ID, ["x"], head=0, now_ms=1)
    ledger.close()
    data_dir.consent.write_bytes(b"no database" * 1_000)
    data_dir.consent.with_name("consent.db-wal").unlink(missing_ok=True)

    answer = client.post(PATH, BODY, headers=AUTHORIZED)

    assert (answer.status, answer.json["code"]) == (503, "ledger_unavailable")
    assert json.loads(answer.body)["success"] is False

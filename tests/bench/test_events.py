from __future__ import annotations

import json

import pytest

from sluicegate.bench.events import PURPOSES, USERS, Workload, n_permitted, permitted, stamp, user_of


def _body(request: bytes) -> bytes:
    head, body = request.split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}".encode() in head
    return body


def test_event_has_twenty_properties_and_about_520_bytes() -> None:
    event = Workload("r12345678").event(7)

    assert len(json.loads(event)["properties"]) == 20
    assert 510 <= len(event) <= 530


def test_same_run_and_number_give_the_same_event() -> None:
    assert Workload("a").event(41) == Workload("a").event(41)


def test_message_ids_differ_between_numbers_and_runs() -> None:
    ids = {Workload(run).message_id(number) for run in ("a", "b") for number in range(1_000)}

    assert len(ids) == 2_000


def test_events_come_from_thousands_of_users() -> None:
    assert len({user_of(number) for number in range(USERS)}) == USERS


@pytest.mark.parametrize("first", [0, 100, 7_300])
def test_half_of_every_batch_refuses_marketing_and_nothing_else(first: int) -> None:
    stamps = [
        json.loads(Workload("a").event(n))["context"]["consent"]["categoryPreferences"]
        for n in range(first, first + 100)
    ]

    granted = [sum(s[purpose] for s in stamps) for purpose in PURPOSES]

    assert granted == [100, 100, 50]


def test_a_user_always_decides_the_same() -> None:
    decisions = {(user_of(number), permitted(number, "marketing")) for number in range(3 * USERS)}

    assert len(decisions) == USERS


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100])
def test_number_of_permitted_events_is_what_the_events_say(count: int) -> None:
    for purpose in PURPOSES:
        assert n_permitted(count, purpose) == sum(permitted(number, purpose) for number in range(count))


def test_requests_carry_every_event_once_in_batches() -> None:
    requests = list(Workload("a").requests(250, per_request=100, host="h:1"))

    ids = [event["messageId"] for request in requests for event in json.loads(_body(request))["batch"]]

    assert [request.split(b" ")[1] for request in requests] == [b"/v1/batch"] * 3
    assert ids == [f"a-{number:08d}" for number in range(250)]


def test_requests_of_one_event_are_the_event_itself() -> None:
    (request,) = Workload("a").requests(1, per_request=1, host="h:1")

    assert request.startswith(b"POST /v1/track ")
    assert _body(request) == Workload("a").event(0)


def test_stamp_sets_the_send_time_of_every_event_and_no_length() -> None:
    (request,) = Workload("a").requests(3, per_request=3, host="h:1")

    stamped = stamp(request, 123_456_789)

    times = [event["properties"]["sent_ns"] for event in json.loads(_body(stamped))["batch"]]
    assert [int(text) for text in times] == [123_456_789] * 3
    assert len(stamped) == len(request)

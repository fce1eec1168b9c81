from __future__ import annotations

from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Plan, Request, packs
from sluicegate.destinations.vendor import Done, wire_form
from sluicegate.errors import CredentialsRefused, Retry

FIRST, SECOND = Request("https://v.example/a", b"[]", [0, 1, 2]), Request("https://v.example/a", b"[]", [2, 3])


def test_event_that_is_in_two_requests_is_named_once() -> None:
    done = Done(Plan([FIRST, SECOND]))
    done.add(Outcome({2: "bad"}, again=frozenset({0})))

    outcome = done.stopped([SECOND], None)

    assert outcome == Outcome({2: "bad"}, again=frozenset({0, 3}))
    assert outcome.problem(4) is None


def test_refused_credentials_after_a_success_come_back_with_the_next_call() -> None:
    done = Done(Plan([FIRST, Request("https://v.example/a", b"[]", [3])]))

    outcome = done.stopped([Request("https://v.example/a", b"[]", [3])], CredentialsRefused("no"))

    assert outcome == Outcome(again=frozenset({3}))


def test_failure_after_a_success_keeps_the_wait_of_the_vendor() -> None:
    done = Done(Plan([FIRST, Request("https://v.example/a", b"[]", [3])]))

    error = Retry("busy", after_s=4.0).answered(429, "slow")
    outcome = done.stopped([Request("https://v.example/a", b"[]", [3])], error)

    assert outcome == Outcome(again=frozenset({3}), reason="busy", after_s=4.0, status=429, response="slow")


def test_records_are_packed_within_both_limits() -> None:
    records = [(n, b"x" * 10) for n in range(5)] + [(5, b"y" * 100)]

    found = list(packs(records, max_records=2, max_bytes=50))

    assert [indices for indices, _ in found] == [[0, 1], [2, 3], [4], [5]]
    assert found[0][1] == b"[" + b"x" * 10 + b"," + b"x" * 10 + b"]"


def test_request_on_the_wire_names_its_host_and_length() -> None:
    head, _, body = wire_form(Request("https://v.example/a?b=c", b"{}", [0])).partition(b"\r\n\r\n")

    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert b"Host: v.example" in head
    assert b"Content-Length: 2" in head
    assert body == b"{}"

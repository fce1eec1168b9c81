from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.amplitude import Amplitude
from sluicegate.destinations.base import Destination
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import CredentialsRefused, Retry
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import Reply, Request
from tests.destinations.vendor_contract import VendorContract, body_of, track

INVALID = b'{"code":400,"error":"Request missing required field","events_with_invalid_fields":{"time":[0,2]}}'


def spam(message_id: str) -> bytes:
    return track(message_id).replace(b'"anonymousId"', b'"userId":"spammer","anonymousId"')


def throttling(request: Request) -> Reply:
    """What Amplitude answers when a user sends too much (amplitude.com/docs/apis/analytics/http-v2)."""
    places = [place for place, event in enumerate(body_of(request)["events"]) if event.get("user_id") == "spammer"]
    said = {"code": 429, "error": "Too many requests for some devices and users", "eps_threshold": 30}
    body = msgspec.json.encode({**said, "throttled_users": {"spammer": 31}, "throttled_events": places})
    return Reply(429, body=body) if places else Reply()


class TestAmplitude(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Amplitude, tmp_path, url=self.vendor.url, api_key="secret-key")

    def ids(self, body: Any) -> list[str]:
        return [event["insert_id"] for event in body["events"]]

    def broken_event(self) -> bytes | None:
        return track("m-2").replace(b'"visitor-1"', b'"undefined"')

    def test_events_that_a_400_lists_are_rejected_and_the_others_sent_again(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(400, body=INVALID)

        outcome = destination.deliver(self.batch(["m-0", "m-1", "m-2", "m-3"]))

        assert isinstance(outcome, Outcome)
        assert outcome.rejected == {0: "Amplitude: invalid fields: time", 2: "Amplitude: invalid fields: time"}
        assert (outcome.again, outcome.reason, outcome.status) == (frozenset({1, 3}), "", 400)

    def test_wrong_key_is_told_apart(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(400, body=b'{"code":400,"error":"Invalid API key: secret"}')

        with pytest.raises(CredentialsRefused):
            destination.deliver(self.batch(["m-1"]))

    def test_throttled_project_waits_as_long_as_amplitude_asks(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(429, body=b'{"code":429,"error":"Too many requests"}')

        with pytest.raises(Retry) as raised:
            destination.deliver(self.batch(["m-1"]))

        assert raised.value.after_s == 30.0

    def test_events_of_others_go_while_those_of_a_throttled_user_wait(self, destination: Destination) -> None:
        self.vendor.answer = throttling
        raws = [self.event("m-0"), spam("m-1"), self.event("m-2")]

        outcome = destination.deliver(make_batch(["m-0", "m-1", "m-2"], raws=raws))

        assert isinstance(outcome, Outcome)
        assert (outcome.again, outcome.rejected, outcome.status) == (frozenset({1}), {}, 429)
        assert outcome.reason
        assert outcome.after_s is None, "it would hold the calls for everybody"
        assert self.received() == ["m-0", "m-2"]

    def test_events_of_throttled_users_alone_hold_no_others(self, destination: Destination) -> None:
        self.vendor.answer = throttling

        with pytest.raises(Retry, match="429") as raised:
            destination.deliver(make_batch(["m-1", "m-2"], raws=[spam("m-1"), spam("m-2")]))

        assert (raised.value.after_s, raised.value.status) == (None, 429)
        assert len(self.vendor.requests) == 1

    def test_products_of_an_order_are_events_of_their_own(self, destination: Destination) -> None:
        order = {"revenue": "25.00", "currency": "EUR", "products": [{"name": "Uno"}, {"name": "Go"}]}
        raw = track("m-1", **order).replace(b'"Tested"', b'"Order Completed"')

        destination.deliver(make_batch(["m-1"], raws=[raw]))

        sent = body_of(self.vendor.requests[0])["events"]
        assert [(one["event_type"], one["insert_id"]) for one in sent] == [
            ("Order Completed", "m-1"),
            ("Product Purchased", "m-1-1"),
            ("Product Purchased", "m-1-2"),
        ]
        assert (sent[0]["revenue"], "revenue" in sent[1]) == (25.0, False)

    def test_traits_become_user_properties(self, destination: Destination) -> None:
        raw = msgspec.json.encode({"type": "identify", "userId": "u", "traits": {"plan": "pro"}})

        destination.deliver(make_batch(["m-1"], raws=[raw]))

        (event,) = body_of(self.vendor.requests[0])["events"]
        assert (event["event_type"], event["user_properties"]) == ("$identify", {"plan": "pro"})

    @pytest.mark.parametrize(
        ("session", "sent"), [("1700000000000", 1_700_000_000_000), ("²", None), ("9" * 5_000, None)]
    )
    def test_session_that_is_no_number_of_amplitudes_is_left_out(
        self, destination: Destination, session: str, sent: int | None
    ) -> None:
        raw = msgspec.json.encode({**msgspec.json.decode(track("m-1")), "context": {"sessionId": session}})

        outcome = destination.deliver(make_batch(["m-1", "m-2"], raws=[raw, track("m-2")]))

        (first, _) = body_of(self.vendor.requests[0])["events"]
        assert (outcome, first.get("session_id")) == (None, sent)


@pytest.mark.parametrize("id_", ["Anonymous", "00000000-0000-0000-0000-000000000000", "0"])
def test_ids_that_amplitude_drops_are_no_ids(tmp_path: Path, id_: str) -> None:
    amplitude = make_destination(Amplitude, tmp_path, api_key="secret-key")
    assert isinstance(amplitude, Amplitude)
    raw = track("m-1").replace(b'"visitor-1"', msgspec.json.encode(id_))

    plan = amplitude.preview(make_batch(["m-1"], raws=[raw]), 0)

    assert "device_id" in plan.rejected[0]


def test_products_of_an_order_cannot_become_much_more_than_the_event(tmp_path: Path) -> None:
    amplitude = make_destination(Amplitude, tmp_path, api_key="secret-key")
    assert isinstance(amplitude, Amplitude)
    event = msgspec.json.decode(track("m-1", products=[{}] * 5_000)) | {"event": "Order Completed"}
    event["context"]["locale"] = "x" * 10_000

    plan = amplitude.preview(make_batch(["m-1", "m-2"], raws=[msgspec.json.encode(event), track("m-2")]), 0)

    assert "product_events = false" in plan.rejected[0]
    assert [(list(one.indices), len(one.body) < 1_000) for one in plan.requests] == [([1], True)]

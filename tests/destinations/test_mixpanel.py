from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.base import Destination
from sluicegate.destinations.mixpanel import NO_IDS, Mixpanel, insert_id
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Plan
from sluicegate.errors import ConfigError
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import Reply
from tests.destinations.vendor_contract import VendorContract, body_of, track

NOW_MS = 1_768_386_031_500
FAILED = msgspec.json.encode(
    {
        "code": 400,
        "error": "some data points in the request failed validation",
        "failed_records": [{"index": 1, "insert_id": "m-1", "field": "properties.time", "message": "is invalid"}],
        "num_records_imported": 2,
        "status": "Bad Request",
    }
)


class TestMixpanel(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        url = self.vendor.url.removesuffix("/hook")
        return make_destination(Mixpanel, tmp_path, url=url, token="tok-secret", api_secret="api-secret")

    def ids(self, body: Any) -> list[str]:
        return [event["properties"]["$insert_id"] for event in body]

    def broken_event(self) -> bytes | None:
        return track("m-2").replace(b'"visitor-1"', b"null")

    def test_records_that_failed_are_rejected_and_the_others_delivered(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(400, body=FAILED)

        outcome = destination.deliver(self.batch(["m-0", "m-1", "m-2"]))

        assert isinstance(outcome, Outcome)
        assert outcome.rejected == {1: "Mixpanel: properties.time: is invalid"}
        assert (outcome.again, outcome.status) == (frozenset(), 400)

    def test_people_go_to_engage(self, destination: Destination) -> None:
        raw = msgspec.json.encode(
            {"type": "identify", "userId": "u", "traits": {"email": "a@example.com", "plan": "pro"}}
        )

        destination.deliver(make_batch(["m-0", "m-1"], raws=[track("m-0"), raw]))

        imported, engaged = self.vendor.requests
        assert imported.path == "/import?strict=1"
        assert imported.headers["authorization"].startswith("Basic ")
        assert engaged.path == "/engage?verbose=1&ip=0"  # or people would live where this machine is
        (profile,) = body_of(engaged)
        assert (profile["$distinct_id"], profile["$set"]) == ("u", {"$email": "a@example.com", "plan": "pro"})

    def test_people_and_groups_are_not_compressed_which_mixpanel_could_not_read(self, tmp_path: Path) -> None:
        url = self.vendor.url.removesuffix("/hook")
        mixpanel = make_destination(Mixpanel, tmp_path, url=url, token="t", api_secret="s", group_key="company")
        person = msgspec.json.encode({"type": "identify", "userId": "u", "traits": {"plan": "pro"}})
        group = msgspec.json.encode({"type": "group", "userId": "u", "groupId": "g", "traits": {"size": 9}})

        mixpanel.deliver(make_batch(["m-0", "m-1", "m-2"], raws=[track("m-0"), person, group]))

        encodings = {request.path[:4]: request.headers.get("content-encoding") for request in self.vendor.requests}
        assert encodings == {"/imp": "gzip", "/eng": None, "/gro": None}
        mixpanel.destroy()

    @pytest.mark.parametrize("traits", [["a"], "a", None])
    def test_group_whose_traits_are_no_object_is_sent_without_them(self, tmp_path: Path, traits: object) -> None:
        group = {"type": "group", "userId": "u", "groupId": "g", "traits": traits}

        plan = preview(tmp_path, msgspec.json.encode(group), group_key="company")

        (record,) = msgspec.json.decode(plan.requests[0].body)
        assert record["$set"] == {}

    def test_visitor_and_user_are_told_together(self, destination: Destination) -> None:
        raw = track("m-1").replace(b'"anonymousId"', b'"userId":"u","anonymousId"')

        destination.deliver(make_batch(["m-1", "m-2"], raws=[raw, track("m-2")]))

        known, visitor = (event["properties"] for event in body_of(self.vendor.requests[0]))
        assert (known["distinct_id"], known["$user_id"], known["$device_id"]) == ("u", "u", "visitor-1")
        assert (visitor["distinct_id"], "$user_id" in visitor) == ("$device:visitor-1", False)

    def test_profile_that_engage_refuses_in_a_200_is_rejected(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(body=b'{"error":"$distinct_id is wrong","status":0}')
        raw = msgspec.json.encode({"type": "identify", "userId": "u", "traits": {"plan": "pro"}})

        outcome = destination.deliver(make_batch(["m-1"], raws=[raw]))

        assert isinstance(outcome, Outcome)
        assert "distinct_id" in outcome.rejected[0]


def test_insert_id_is_what_mixpanel_takes() -> None:
    assert insert_id("a-1") == "a-1"
    assert len(insert_id("x" * 60)) == 36
    assert insert_id("with space") == insert_id("with space")


@pytest.mark.parametrize("message_id", ["null", "Undefined", "0", "00000000-0000-0000-0000-000000000000"])
def test_message_id_that_mixpanel_refuses_is_replaced_by_one_that_is_always_the_same(message_id: str) -> None:
    made = insert_id(message_id)

    assert made == insert_id(message_id)
    assert made.lower() not in NO_IDS and made.strip("0-")


def test_credentials_must_be_complete(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="api_secret"):
        make_destination(Mixpanel, tmp_path, token="t")
    with pytest.raises(ConfigError, match="project_id"):
        make_destination(Mixpanel, tmp_path, token="t", service_account="a:b")


@pytest.mark.parametrize("id_", ["anon", "Undefined", "<nil>", "[]", "00000000-0000-0000-0000-000000000000", "lmy47d"])
def test_ids_that_mixpanel_refuses_are_no_ids(tmp_path: Path, id_: str) -> None:
    plan = preview(tmp_path, track("m-1").replace(b'"visitor-1"', msgspec.json.encode(id_)))

    assert "distinct_id" in plan.rejected[0]


@pytest.mark.parametrize(("time", "rule"), [("1970-12-31T23:59:59Z", "1971"), ("2026-01-14T11:20:32Z", "an hour")])
def test_times_that_mixpanel_refuses_are_rejected(tmp_path: Path, time: str, rule: str) -> None:
    raw = msgspec.json.encode({**msgspec.json.decode(track("m-1")), "timestamp": time})

    plan = preview(tmp_path, raw)

    assert rule in plan.rejected[0]


def preview(tmp_path: Path, raw: bytes, **settings: Any) -> Plan:
    mixpanel = make_destination(Mixpanel, tmp_path, token="t", api_secret="s", **settings)
    assert isinstance(mixpanel, Mixpanel)
    return mixpanel.preview(make_batch(["m-1"], raws=[raw]), NOW_MS)

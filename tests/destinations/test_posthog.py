from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from sluicegate.destinations.base import Destination
from sluicegate.destinations.posthog import Posthog
from sluicegate.errors import Retry
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import Reply
from tests.destinations.vendor_contract import VendorContract, body_of, track


class TestPosthog(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Posthog, tmp_path, url=self.vendor.url, api_key="phc_secret")

    def ids(self, body: Any) -> list[str]:
        return [event["properties"]["mid"] for event in body["batch"]]

    def broken_event(self) -> bytes | None:
        return track("m-2").replace(b'"visitor-1"', b'""')

    def test_repetitions_have_the_same_uuid(self, destination: Destination) -> None:
        for _ in range(2):
            destination.deliver(make_batch(["m-1"], raws=[track("m-1")]))

        first, second = (body_of(request)["batch"][0]["uuid"] for request in self.vendor.requests)
        assert first == second == str(UUID(first))

    def test_used_up_quota_is_waited_out(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(body=b'{"status":"Ok","quota_limited":["events"]}')

        with pytest.raises(Retry, match="quota"):
            destination.deliver(self.batch(["m-1"]))

    def test_kinds_of_events_have_their_names(self, destination: Destination) -> None:
        common = {"userId": "u", "anonymousId": "a", "timestamp": "2026-01-14T10:20:30.456Z"}
        events: list[dict[str, Any]] = [
            {"type": "identify", "traits": {"plan": "pro"}},
            {"type": "alias", "previousId": "a"},
            {"type": "group", "groupId": "g", "traits": {"name": "Acme"}},
            {"type": "screen", "name": "Home"},
        ]
        raws = [msgspec.json.encode({**common, **event}) for event in events]

        assert destination.deliver(make_batch(list("abcd"), raws=raws)) is None

        identify, alias, group, screen = body_of(self.vendor.requests[0])["batch"]
        assert (identify["event"], identify["properties"]["$set"]) == ("$identify", {"plan": "pro"})
        assert identify["properties"]["$anon_distinct_id"] == "a"
        assert (alias["event"], alias["distinct_id"], alias["properties"]["alias"]) == ("$create_alias", "u", "a")
        assert (group["event"], group["properties"]["$group_key"]) == ("$groupidentify", "g")
        assert (screen["event"], screen["properties"]["$screen_name"]) == ("$screen", "Home")
        assert screen["timestamp"] == "2026-01-14T10:20:30.456Z"

    def test_people_without_user_id_get_no_profile(self, destination: Destination) -> None:
        destination.deliver(self.batch(["m-1"]))

        (event,) = body_of(self.vendor.requests[0])["batch"]
        assert event["properties"]["$process_person_profile"] is False

    def test_events_about_people_and_groups_ask_for_a_profile_without_user_id_too(
        self, destination: Destination
    ) -> None:
        common = {"anonymousId": "a", "timestamp": "2026-01-14T10:20:30.456Z"}
        events: list[dict[str, Any]] = [
            {"type": "identify", "traits": {"plan": "pro"}},
            {"type": "alias", "previousId": "b"},
            {"type": "group", "groupId": "g", "traits": {"name": "Acme"}},
        ]
        raws = [msgspec.json.encode({**common, **event}) for event in events]

        assert destination.deliver(make_batch(list("abc"), raws=raws)) is None

        sent = body_of(self.vendor.requests[0])["batch"]
        assert [event["event"] for event in sent] == ["$identify", "$create_alias", "$groupidentify"]
        assert not any("$process_person_profile" in event["properties"] for event in sent)

    @pytest.mark.parametrize("traits", [["a"], "a", None])
    def test_group_whose_traits_are_no_object_is_sent_without_them(
        self, destination: Destination, traits: object
    ) -> None:
        group = {"type": "group", "userId": "u", "groupId": "g", "traits": traits}

        destination.deliver(make_batch(["m-1"], raws=[msgspec.json.encode(group)]))

        (event,) = body_of(self.vendor.requests[0])["batch"]
        assert event["properties"]["$group_set"] == {}

    @pytest.mark.parametrize(("context", "disabled"), [({"ip": "203.0.113.9"}, None), ({}, True)])
    def test_event_without_an_address_is_not_taken_to_be_where_this_machine_is(
        self, destination: Destination, context: dict[str, Any], disabled: bool | None
    ) -> None:
        raw = msgspec.json.encode({**msgspec.json.decode(track("m-1")), "context": context})

        destination.deliver(make_batch(["m-1"], raws=[raw]))

        (event,) = body_of(self.vendor.requests[0])["batch"]
        assert event["properties"].get("$geoip_disable") is disabled


def test_ids_that_posthog_drops_are_no_ids(tmp_path: Path) -> None:
    posthog = make_destination(Posthog, tmp_path, api_key="phc_secret")
    assert isinstance(posthog, Posthog)
    raw = track("m-1").replace(b'"visitor-1"', b'"visitor-1","userId":"undefined"')

    plan = posthog.preview(make_batch(["m-1", "m-2"], raws=[raw, track("m-2").replace(b'"visitor-1"', b'"null"')]), 0)

    (event,) = msgspec.json.decode(plan.requests[0].body)["batch"]
    assert (event["distinct_id"], event["properties"]["$process_person_profile"]) == ("visitor-1", False)
    assert "distinct_id" in plan.rejected[1]


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_time_that_no_calendar_has_in_utc_is_none(tmp_path: Path, time: str) -> None:
    posthog = make_destination(Posthog, tmp_path, api_key="phc_secret")
    assert isinstance(posthog, Posthog)
    event = {**msgspec.json.decode(track("m-1")), "timestamp": time, "receivedAt": "2026-01-14T10:20:30.456Z"}

    plan = posthog.preview(make_batch(["m-1"], raws=[msgspec.json.encode(event)]), 0)

    (sent,) = msgspec.json.decode(plan.requests[0].body)["batch"]
    assert sent["timestamp"] == "2026-01-14T10:20:30.456Z"


def test_placeholder_is_merged_with_nobody(tmp_path: Path) -> None:
    posthog = make_destination(Posthog, tmp_path, api_key="phc_secret")
    assert isinstance(posthog, Posthog)
    identify = {"type": "identify", "userId": "u", "anonymousId": "unknown", "traits": {"plan": "pro"}}
    alias = {"type": "alias", "userId": "u", "previousId": "unknown"}

    plan = posthog.preview(make_batch(["m-1", "m-2"], raws=list(map(msgspec.json.encode, (identify, alias)))), 0)

    (sent,) = msgspec.json.decode(plan.requests[0].body)["batch"]
    assert "$anon_distinct_id" not in sent["properties"]
    assert "previousId" in plan.rejected[1]

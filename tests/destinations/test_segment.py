from __future__ import annotations

from pathlib import Path
from typing import Any

from sluicegate.destinations.base import Destination
from sluicegate.destinations.segment import Segment
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.destinations.vendor_contract import VendorContract, body_of


class TestSegment(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        url = self.vendor.url.replace("/hook", "/v1/batch")
        return make_destination(Segment, tmp_path, url=url, write_key="key-1", gzip=True)

    def ids(self, body: Any) -> list[str]:
        return [event["messageId"] for event in body["batch"]]

    def broken_event(self) -> bytes | None:
        return self.event("m-2", text="x" * 40_000)

    def test_events_are_forwarded_as_they_are_with_basic_authentication(self, destination: Destination) -> None:
        raw = b'{"messageId":"a","type":"track","n":1.0, "new":{"field":true}}'

        destination.deliver(make_batch(["a"], raws=[raw]))

        (request,) = self.vendor.requests
        assert request.path == "/v1/batch"
        assert request.headers["authorization"] == "Basic a2V5LTE6"
        assert set(body_of(request)) == {"batch", "sentAt"}
        assert body_of(request)["batch"][0]["new"] == {"field": True}

"""The contract suite for destinations that post to a vendor's web API, which here is a server on loopback."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.outcome import Outcome
from sluicegate.testing.destination_contract import DestinationContract, VendorAnswer, make_batch
from sluicegate.testing.http_receiver import HttpReceiver, Reply, Request


def body_of(request: Request) -> Any:
    """The JSON of a request."""
    body = request.body
    return msgspec.json.decode(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def track(message_id: str, **properties: object) -> bytes:
    """A track event of this moment."""
    return msgspec.json.encode(
        {
            "type": "track",
            "event": "Tested",
            "messageId": message_id,
            "anonymousId": "visitor-1",
            "timestamp": now_text(),
            "context": {"ip": "203.0.113.9", "userAgent": "Mozilla/5.0", "page": {"url": "https://shop.example/p"}},
            "properties": {"mid": message_id, **properties},
        }
    )


class VendorContract(DestinationContract):
    statuses: dict[VendorAnswer, int] = {"busy": 503, "refused": 401, "rejected": 400}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def receiver(self) -> Iterator[None]:
        self.vendor = HttpReceiver()
        yield
        self.vendor.close()

    def received(self) -> Sequence[str]:
        return [id_ for request in self.vendor.taken for id_ in self.ids(body_of(request))]

    def ids(self, body: Any) -> list[str]:
        """The message ids in the body of a request."""
        raise NotImplementedError

    def script(self, answer: VendorAnswer) -> None:
        self.vendor.answer = lambda request: Reply(self.statuses[answer])

    def event(self, message_id: str, **properties: object) -> bytes:
        return track(message_id, **properties)

    def test_event_that_breaks_a_rule_leaves_the_others_alone(self, destination: Destination) -> None:
        if (bad := self.broken_event()) is None:
            pytest.skip("nothing is refused before it is sent")
        batch = make_batch(["m-1", "m-2", "m-3"], raws=[self.event("m-1"), bad, self.event("m-3")])

        outcome = destination.deliver(batch)

        assert isinstance(outcome, Outcome)
        assert set(outcome.rejected) == {1}
        assert sorted(self.received()) == ["m-1", "m-3"]

    def broken_event(self) -> bytes | None:
        """An event that the vendor would refuse, with the id m-2."""
        return None

    def test_too_many_requests_is_told_with_the_wait(self, destination: Destination) -> None:
        self.vendor.answer = lambda request: Reply(429, {"Retry-After": "7"})

        with pytest.raises(Exception, match="429") as raised:
            destination.deliver(self.batch(["m-1"]))

        assert getattr(raised.value, "status", None) == 429


def deliver(destination: Destination, raws: Sequence[bytes]) -> Outcome | None:
    """Deliver events, all as one batch."""
    return destination.deliver(Batch(list(range(len(raws))), [f"m-{n}" for n in range(len(raws))], list(raws)))

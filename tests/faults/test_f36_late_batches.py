from __future__ import annotations

from pathlib import Path

from sluicegate.config.model import LogConfig
from tests.gateway.harness import RunningGateway, make_config

LATE = "2024-02-29T12:00:00.000Z"


def event(message_id: str, timestamp: str | None) -> dict[str, object]:
    return {
        "type": "track",
        "event": "Seen",
        "userId": "u1",
        "messageId": message_id,
        **({} if timestamp is None else {"originalTimestamp": timestamp, "timestamp": timestamp}),
    }


def test_late_and_reordered_batches_are_stored_in_order_of_arrival_with_their_own_times(tmp_path: Path) -> None:
    running = RunningGateway(make_config(tmp_path, log=LogConfig(min_free_bytes=0, min_free_percent=0)))
    client = running.client()
    later = {"batch": [event("third", None), event("fourth", LATE)]}
    earlier = {"batch": [event("first", LATE), event("second", LATE)]}

    statuses = [client.post("/v1/batch", body).status for body in (later, earlier, later, earlier)]

    stored = running.stored()
    client.close()
    running.close()
    assert statuses == [200] * 4
    assert [one["messageId"] for one in stored] == ["third", "fourth", "first", "second"]
    assert [one.get("originalTimestamp") for one in stored] == [None, LATE, LATE, LATE]


def test_clients_wrong_clock_does_not_make_a_duplicate_another_event(tmp_path: Path) -> None:
    running = RunningGateway(make_config(tmp_path, log=LogConfig(min_free_bytes=0, min_free_percent=0)))
    client = running.client()
    times = ("2001-01-01T00:00:00.000Z", "2040-01-01T00:00:00.000Z", "2026-11-23T17:00:00.000Z")

    for sent_at in times:
        assert client.post("/v1/batch", {"batch": [event("same", LATE)], "sentAt": sent_at}).status == 200

    stored = running.stored()
    client.close()
    running.close()
    assert len(stored) == 1
    assert stored[0]["originalTimestamp"] == LATE

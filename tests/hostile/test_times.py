from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.acceptance import Acceptor
from sluicegate.acceptance.times import MAX_AHEAD_MS, read_ms
from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch
from tests.gateway.harness import Client
from tests.hostile.json_bodies import ABSURD_TIMES
from tests.hostile.process import Gateway

RECEIVED_MS = 1_795_453_200_000
RECEIVED = datetime.fromtimestamp(RECEIVED_MS / 1_000, UTC)


def sent(offset_s: int) -> str:
    return (RECEIVED + timedelta(seconds=offset_s)).isoformat().replace("+00:00", "Z")


def track(message_id: str, **more: object) -> dict[str, object]:
    return {"type": "track", "event": "Seen", "messageId": message_id, "userId": "u", **more}


def accept(events: list[dict[str, object]], **rest: object) -> EventBatch:
    body = json.dumps({"batch": events, **rest}).encode()
    accepted = Acceptor(GatewayConfig()).accept_batch(body, source="web", received_at_ms=RECEIVED_MS)
    assert accepted.rejected == []
    return accepted.batch


@pytest.mark.parametrize("name", ABSURD_TIMES)
def test_absurd_time_is_brought_into_bounds_and_what_the_client_said_is_kept(name: str) -> None:
    given_time = ABSURD_TIMES[name]

    batch = accept([track("m", timestamp=given_time)])

    stored = json.loads(batch.events[0])
    assert 0 <= batch.times_ms[0] <= RECEIVED_MS + MAX_AHEAD_MS
    assert read_ms(stored["timestamp"]) == batch.times_ms[0]
    assert given_time is None or given_time in (stored["timestamp"], stored.get("originalTimestamp"))


@pytest.mark.parametrize("name", ABSURD_TIMES)
def test_absurd_time_of_sending_moves_no_event_out_of_bounds(name: str) -> None:
    batch = accept([track("m", timestamp=sent(-5)), track("n", originalTimestamp=sent(-5))], sentAt=ABSURD_TIMES[name])

    assert all(0 <= time_ms <= RECEIVED_MS + MAX_AHEAD_MS for time_ms in batch.times_ms)
    assert read_ms(json.loads(batch.events[1])["originalTimestamp"]) == read_ms(sent(-5))


offsets_s = st.integers(-400 * 86_400, 400 * 86_400)


@given(st.lists(st.tuples(st.sampled_from("abc"), offsets_s), min_size=1, max_size=12), st.one_of(st.none(), offsets_s))
def test_events_keep_the_order_of_arrival_whatever_their_clocks_say(
    told: list[tuple[str, int]], skew: int | None
) -> None:
    events = [track(f"m{number}", userId=user, timestamp=sent(offset)) for number, (user, offset) in enumerate(told)]

    batch = accept(events, **({} if skew is None else {"sentAt": sent(skew)}))

    assert batch.message_ids == [f"m{number}" for number in range(len(told))]
    assert batch.user_ids == [user for user, _ in told]
    for event, raw in zip(events, batch.events, strict=True):
        stored = json.loads(raw)
        original = stored.get("originalTimestamp", stored["timestamp"])
        assert original == event["timestamp"]


def test_late_and_reordered_batches_are_stored_as_they_arrive(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    client = Client(gateway.address)
    now = datetime.now(UTC)
    hours = [0, -48, -1, -720, 3, -2]

    for number, hour in enumerate(hours):
        moment = (now + timedelta(hours=hour)).isoformat()
        events = [track(f"{number}-{user}", userId=user, timestamp=moment) for user in "ab"]
        assert client.post("/v1/batch", {"batch": events, "sentAt": moment}).json["accepted"] == 2

    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for stored in gateway.stored():
        by_user[stored["userId"]].append(stored)
    for user, events in by_user.items():
        assert [event["messageId"] for event in events] == [f"{number}-{user}" for number in range(len(hours))]
        for event, hour in zip(events, hours, strict=True):
            original = event.get("originalTimestamp", event["timestamp"])
            assert original == (now + timedelta(hours=hour)).isoformat()
    client.close()
    assert gateway.close() == 0

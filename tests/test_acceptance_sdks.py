"""What the clients in the field send, as captured from them, is accepted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.acceptance import Acceptor, write_key_of
from sluicegate.config.model import GatewayConfig

CAPTURES = Path(__file__).parents[2] / "shared" / "wire"
RECEIVED_MS = 1_795_453_200_000
CLIENTS = ["segment-analytics-python", "segment-analytics-node", "segment-analytics-next", "rudder-sdk-python"]
CLIENTS += ["rudder-sdk-node", "rudder-analytics-js", "jitsu-js-browser", "jitsu-js-node"]


def has_subject(event: dict[str, Any]) -> bool:
    return bool(event.get("userId") or event.get("anonymousId"))


def bodies(client: str) -> Iterator[dict[str, Any]]:
    path = CAPTURES / f"{client}.jsonl"
    if not path.exists():
        pytest.skip(f"captured requests are not here: {path}")
    for line in path.read_text().splitlines():
        body = json.loads(line).get("body")
        if isinstance(body, dict) and "__truncated__" not in body:
            yield body


@pytest.mark.parametrize("client", CLIENTS)
def test_every_event_that_a_client_sends_is_accepted(client: str) -> None:
    acceptor = Acceptor(GatewayConfig())
    n_accepted = 0

    for body in bodies(client):
        raw = json.dumps(body).encode()
        if "batch" in body:
            accepted = acceptor.accept_batch(raw, source="web", received_at_ms=RECEIVED_MS)
        elif has_subject(body):
            accepted = acceptor.accept_single(raw, type=body["type"], source="web", received_at_ms=RECEIVED_MS)
        else:
            continue
        assert accepted.rejected == []
        n_accepted += len(accepted.batch)

    assert n_accepted >= 10


@pytest.mark.parametrize(
    ("client", "category"), [("rudder-analytics-js", "advertising"), ("segment-analytics-next", "Advertising")]
)
def test_refusal_in_captured_requests_is_read(client: str, category: str) -> None:
    acceptor = Acceptor(GatewayConfig())

    found = [
        dict(combo.stamp).get(category)
        for body in bodies(client)
        if has_subject(body)
        for combo in acceptor.accept_single(
            json.dumps(body).encode(), type=body["type"], source="web", received_at_ms=RECEIVED_MS
        ).batch.combos
    ]

    assert False in found
    assert True not in found


def test_write_key_is_found_in_bodies_that_carry_it() -> None:
    keys = {write_key_of(json.dumps(body).encode()) for body in bodies("segment-analytics-python")}

    assert keys == {"WRITEKEY"}

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.secret import Secret
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import Client

WIRE = Path(__file__).parents[3] / "shared" / "wire"
CLIENTS = [
    "segment-analytics-python",
    "segment-analytics-node",
    "segment-analytics-next",
    "segment-analytics-next-script-tag",
    "rudder-sdk-python",
    "rudder-sdk-node",
    "rudder-analytics-js",
    "rudder-analytics-js-cdn-plugins",
]
ELSEWHERE = "/v1/elsewhere"
"""Where the captures' server redirected to, to see what the clients make of it."""
KEYLESS = "settings-minimal"
"""A scenario whose settings gave analytics-next no key to send."""


def captured(client: str) -> list[dict[str, Any]]:
    path = WIRE / f"{client}.jsonl"
    if not path.exists():
        return []
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["method"] in ("POST", "OPTIONS")]


def is_whole(line: dict[str, Any]) -> bool:
    """Whether the capture has the whole body (long ones were cut), sent to us and with a key."""
    body = line["body"]
    return (
        isinstance(body, dict)
        and "__truncated__" not in body
        and line["path"] != ELSEWHERE
        and (line["client"], line["scenario"]) != ("segment-analytics-next", KEYLESS)
    )


def replay(line: dict[str, Any]) -> bytes:
    """The request as captured; bodies were kept decoded, so they are encoded again."""
    body = b"" if line["body"] is None else json.dumps(line["body"]).encode()
    if line["encoding"] == "gzip" or (line["note"] or "").startswith("gzip"):
        body = gzip.compress(body)
    fields = [(name, value) for name, value in line["headers"] if name.lower() != "content-length"]
    if line["method"] == "POST":
        fields.append(("Content-Length", str(len(body))))
    target = line["path"] + (f"?{line['query']}" if line["query"] else "")
    head = f"{line['method']} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    return head.encode() + b"\r\n" + body


@pytest.mark.parametrize("sdk", CLIENTS)
def test_every_captured_request_of_an_sdk_is_answered_with_200(start_gateway: StartGateway, sdk: str) -> None:
    lines = captured(sdk)
    if not lines:
        pytest.skip(f"no captured requests of {sdk} in {WIRE}")
    running = start_gateway({"write_keys": {"web": Secret("WRITEKEY")}})
    answers = []

    for line in lines:
        if line["method"] == "OPTIONS" or is_whole(line):
            client = Client(running.address)
            answers.append((line["path"], client.ask(replay(line))))
            client.close()

    assert answers or not any(is_whole(line) for line in lines)
    assert [(path, a.status, a.body) for path, a in answers if a.status != 200] == []
    assert [(path, a.body) for path, a in answers if a.body and a.json.get("rejected")] == []

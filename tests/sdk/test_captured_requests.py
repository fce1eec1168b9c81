"""Every request that was captured of fifteen clients, sent again to a gateway process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.config.secret import Secret
from tests.gateway.harness import Answered, Client, make_config, stored_events
from tests.gateway.process import GatewayProcess
from tests.sdk.wire import WIRE, Captured, captured

OK = "200"
ELSEWHERE = "404 not_found"
UNKNOWN_KEY = "401 invalid_write_key"
CUT = "cut"
"""The capture kept only the beginning of a long body, so it cannot be sent again."""

EXPECTED: dict[str, dict[str, int]] = {
    # What follows a redirect goes to an address that no gateway has: clients that were redirected lose the event.
    "segment-analytics-python": {OK: 32, CUT: 5, ELSEWHERE: 1},
    "segment-analytics-node": {OK: 46, CUT: 2, ELSEWHERE: 1},
    "rudder-sdk-python": {OK: 37, CUT: 4, ELSEWHERE: 1},
    "rudder-sdk-node": {OK: 33, ELSEWHERE: 2},
    # One event was sent after settings without a key, and so has none.
    "segment-analytics-next": {OK: 135, UNKNOWN_KEY: 1},
    "segment-analytics-next-script-tag": {OK: 6},
    "rudder-analytics-js": {OK: 149},
    # The build that loads its plugins from a server: we have none to give.
    "rudder-analytics-js-cdn-plugins": {OK: 3, ELSEWHERE: 1},
    "jitsu-js-browser": {OK: 78},
    "jitsu-js-node": {OK: 10},
    # SDKs of vendors, which speak protocols of their own: refused, and so that they give up.
    "mixpanel-python": {ELSEWHERE: 30},
    "mixpanel-node": {ELSEWHERE: 15},
    "mixpanel-browser": {ELSEWHERE: 69},
    "posthog-python": {UNKNOWN_KEY: 22, CUT: 2, ELSEWHERE: 2},
    "posthog-node": {UNKNOWN_KEY: 11},
    "posthog-js": {OK: 5, ELSEWHERE: 76},
}
CHANGED = {"receivedAt", "timestamp", "originalTimestamp", "writeKey", "anonymousId", "type"}
"""Members of a stored event that may differ from what was sent: our own, corrected times, a masked key."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    keys = {"web": Secret("WRITEKEY"), "jitsu": Secret("KEYID")}
    folder = tmp_path_factory.mktemp("gateway")
    script = folder / "analytics.min.js"
    script.write_text("window.analytics = []")
    config = make_config(folder, log=LogConfig(), write_keys=keys, analytics_js=script)
    process = GatewayProcess(config)
    assert "listening" in process.told()
    yield process
    process.close()


def send(gateway: GatewayProcess, request: Captured) -> Answered:
    client = Client(gateway.address)
    try:
        return client.ask(request.wire())
    finally:
        client.close()


def outcome(request: Captured, answer: Answered | None) -> str:
    if answer is None:
        return CUT
    if answer.status == 200:
        return OK
    assert answer.json["message"]
    return f"{answer.status} {answer.json['code']}"


def is_stored_as_sent(sent: dict[str, Any], stored: dict[str, Any]) -> bool:
    changed = CHANGED if sent.get("anonymousId") is None else CHANGED - {"anonymousId"}
    return all(stored[name] == value for name, value in sent.items() if name not in changed)


@pytest.mark.parametrize("client", EXPECTED)
def test_every_captured_request_gets_its_answer_and_its_events_are_stored_once(
    gateway: GatewayProcess, client: str
) -> None:
    requests = list(captured(client))
    if not requests:
        pytest.skip(f"no captured requests of {client} in {WIRE}")
    before = len(stored_events(gateway.config))
    sent: dict[str, dict[str, Any]] = {}
    outcomes: Counter[str] = Counter()

    for request in requests:
        answer = None if request.is_cut else send(gateway, request)
        outcomes[outcome(request, answer)] += 1
        if answer is not None and answer.status == 200:
            assert not (request.method == "POST" and answer.json.get("rejected")), (request.path, answer.body)
            for event in request.events:
                sent.setdefault(event["messageId"], event)

    stored = {event["messageId"]: event for event in stored_events(gateway.config)[before:]}
    assert outcomes == EXPECTED[client]
    assert stored.keys() == sent.keys()
    assert [name for name, event in sent.items() if not is_stored_as_sent(event, stored[name])] == []


def test_the_table_has_every_captured_client() -> None:
    clients = {path.stem for path in WIRE.glob("*.jsonl")}
    if not clients:
        pytest.skip(f"no captured requests in {WIRE}")

    assert clients == EXPECTED.keys()
    assert sum(sum(outcomes.values()) for outcomes in EXPECTED.values()) == 779

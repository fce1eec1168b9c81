from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sluicegate.errors import Refused
from tests.end_to_end.harness import ARCHIVE, WRITE_KEY, System


def states(running: System, user_id: str) -> Any:
    shown = json.loads(running.admin("consent", "show", "--user-id", user_id, "--json").stdout)
    return {purpose: found["state"] for purpose, found in shown["purposes"].items()}


def decide(running: System, **preferences: bool) -> None:
    body = json.dumps({"userId": "anne", "preferences": preferences, "writeKey": WRITE_KEY}).encode()
    status, answer = running.request("POST", "/v1/consent", body)
    assert status == 200, answer


def test_decisions_come_from_http_applications_and_operators(system: Callable[..., System]) -> None:
    running = system(ARCHIVE).start()

    decide(running, marketing=True)
    recorded = running.client.set_consent({"measurement": True}, user_id="anne", anonymous_id="phone")
    told = running.admin("consent", "withdraw", "--user-id", "anne", "marketing")

    assert told.returncode == 0, told.stderr
    assert (recorded.version, recorded.stopped, recorded.in_flight) == (3, {}, {})
    assert states(running, "anne") == {"marketing": "denied", "measurement": "granted"}


def test_applications_are_told_what_cannot_be_recorded(system: Callable[..., System]) -> None:
    running = system(ARCHIVE).start()

    with pytest.raises(Refused, match="neither userId nor anonymousId"):
        running.client.set_consent({"measurement": True})
    with pytest.raises(Refused, match="preferences"):
        running.client.set_consent({}, user_id="anne")


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_id": "\ud800"},
        {"anonymous_id": "phone\udcff"},
        {"user_id": "anne", "policy_version": "\udc00"},
        {"user_id": "anne", "preferences": {"\ud800": True}},
    ],
    ids=["user", "visitor", "policy", "purpose"],
)
def test_half_a_surrogate_pair_from_an_application_is_refused_and_harms_nobody(
    system: Callable[..., System], wrong: dict[str, Any]
) -> None:
    running = system(ARCHIVE).start()

    with pytest.raises(Refused, match="text"):
        running.client.set_consent(**{"preferences": {"measurement": True}, **wrong})
    recorded = running.client.set_consent({"measurement": True}, user_id="ben")

    assert recorded.version == 1


def test_half_a_surrogate_pair_from_an_operator_is_refused(system: Callable[..., System]) -> None:
    running = system(ARCHIVE).start()

    for command in (["consent", "withdraw", "marketing"], ["consent", "show"], ["erase"], ["suppress"]):
        told = running.admin(*command, "--user-id", "anne\udcff")

        assert told.returncode != 0
        assert "text" in told.stderr
        assert "Traceback" not in told.stderr


def test_statement_31_a_withdrawal_survives_kill_9(system: Callable[..., System]) -> None:
    running = system(ARCHIVE).start()
    running.client.set_consent({"marketing": True}, user_id="anne", decided_at=datetime(2026, 1, 31, tzinfo=UTC))
    decide(running, marketing=False)

    running.kill()
    running.start()

    assert states(running, "anne") == {"marketing": "denied"}

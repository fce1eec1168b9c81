"""Events as clients send them, and what is made of them."""

import json
from typing import Any

from sluicegate.acceptance import Acceptance, Acceptor, Reason
from sluicegate.config.model import GatewayConfig, PurposesConfig

RECEIVED_MS = 1_795_453_200_000
RECEIVED = "2026-11-23T17:00:00.000Z"
SECOND = 1_000
HOUR = 3_600_000


def event(**changes: Any) -> dict[str, Any]:
    whole = {
        "type": "track",
        "event": "Signed Up",
        "messageId": "m1",
        "userId": "u1",
        "timestamp": "2026-11-23T16:59:59.000Z",
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def accept(*events: Any, limits: GatewayConfig | None = None, **body: Any) -> Acceptance:
    texts = [item if isinstance(item, str) else json.dumps(item) for item in events]
    rest = "".join(f',"{key}":{json.dumps(value)}' for key, value in body.items())
    return accept_body(f'{{"batch":[{",".join(texts)}]{rest}}}'.encode(), limits=limits)


def accept_body(body: bytes, *, limits: GatewayConfig | None = None) -> Acceptance:
    acceptor = Acceptor(limits or GatewayConfig(), PurposesConfig(aliases={"C2": "measurement"}))
    return acceptor.accept_batch(body, source="web", received_at_ms=RECEIVED_MS)


def single(body: bytes, *, type: str = "track") -> Acceptance:
    return Acceptor(GatewayConfig()).accept_single(body, type=type, source="web", received_at_ms=RECEIVED_MS)


def stamps(accepted: Acceptance) -> list[dict[str, bool]]:
    return [dict(combo.stamp) for combo in accepted.batch.combos]


def reasons(accepted: Acceptance) -> list[tuple[int, Reason]]:
    return [(rejection.index, rejection.reason) for rejection in accepted.rejected]


def stored(accepted: Acceptance, index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(accepted.batch.events[index])
    return found

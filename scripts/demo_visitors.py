"""The people of the demo: what they do and what they agree to, told to the gateway over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from sluicegate.errors import SluicegateError

BATCH = 50
N_EACH = 7
"""Visitors of one step; no step has those of another, or what one of them says would release what is held of it."""

Preferences = Mapping[str, bool]


class NotTaken(SluicegateError):
    """The gateway did not take what it was told."""


class Visitors:
    """The people of one step, who all think the same about consent; with None they have said nothing."""

    def __init__(self, name: str, preferences: Preferences | None) -> None:
        self.ids = [f"{name}-{number}" for number in range(N_EACH)]
        self.preferences = preferences

    def events(self, count: int) -> list[dict[str, Any]]:
        """So many track events of theirs, each with an id of its own."""
        context = {} if self.preferences is None else {"consent": {"categoryPreferences": dict(self.preferences)}}
        return [
            {
                "type": "track",
                "event": "Page Viewed",
                "messageId": str(uuid4()),
                "anonymousId": self.ids[number % N_EACH],
                "properties": {"number": number},
                "context": context,
            }
            for number in range(count)
        ]


class Entrance:
    """The gateway, as a browser sees it."""

    def __init__(self, gateway: str, write_key: str) -> None:
        self.gateway = gateway
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Post these events in batches; all of them have to be accepted."""
        for start in range(0, len(events), BATCH):
            batch = events[start : start + BATCH]
            answer = self._post("/v1/batch", {"batch": batch})
            if answer["accepted"] != len(batch):
                raise NotTaken(f"the gateway took {answer['accepted']} of {len(batch)} events: {answer}")

    def decide(self, visitors: Visitors, preferences: Preferences) -> None:
        """Tell what these people have decided about consent."""
        for one in visitors.ids:
            self._post("/v1/consent", {"anonymousId": one, "preferences": dict(preferences)})

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.gateway, timeout=10)
        try:
            connection.request("POST", path, json.dumps(body), self._headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status not in (200, 202):
            raise NotTaken(f"the gateway answered {path} with {response.status}: {text.decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(text)
        return answer

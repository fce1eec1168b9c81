"""Settings of the destination types that come with Sluicegate."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret


class FileSettings(Settings):
    """`path` of the JSON Lines file; a relative one lies below the data directory."""

    path: str

    limits: ClassVar[Limits] = Limits(max_events=5_000, max_bytes=4 * 1024 * 1024)


class WebhookSettings(Settings):
    """`url` that gets the batches, extra `headers`, and the `secret` that signs them (Standard Webhooks)."""

    url: str
    headers: dict[str, Secret] = {}
    secret: Secret | None = None

    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=450 * 1024, in_flight=8)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: not a web address; write https://host/path")


class ConsoleSettings(Settings):
    """No settings; events are printed."""


class NullSettings(Settings):
    """No settings; events are counted and forgotten."""

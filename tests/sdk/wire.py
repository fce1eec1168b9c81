"""Requests of real clients as they were captured, and how to send them again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

WIRE = Path(__file__).parents[3] / "shared" / "wire"


@dataclass(frozen=True, slots=True)
class Captured:
    """One request; `body` is decoded."""

    scenario: str
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: Any
    is_gzip: bool
    is_form: bool

    @property
    def is_cut(self) -> bool:
        """Whether the capture kept only the beginning of a long body."""
        return isinstance(self.body, dict) and "__truncated__" in self.body

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that it sends, if it does."""
        if not isinstance(self.body, dict) or self.method != "POST" or self.is_cut:
            return []
        events: list[dict[str, Any]] = self.body.get("batch", [self.body])
        return events

    def wire(self) -> bytes:
        """The request as it was sent; bodies were kept decoded, so they are encoded again."""
        body = b"" if self.body is None else self._encoded()
        fields = [(name, value) for name, value in self.headers if name.lower() != "content-length"]
        if self.method == "POST":
            fields.append(("Content-Length", str(len(body))))
        target = self.path + (f"?{self.query}" if self.query else "")
        head = f"{self.method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
        return head.encode() + b"\r\n" + body

    def _encoded(self) -> bytes:
        if self.is_form:
            texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.body.items()}
            return urlencode(texts).encode()
        body = json.dumps(self.body).encode()
        return gzip.compress(body) if self.is_gzip else body


def captured(client: str) -> Iterator[Captured]:
    """All requests of a client, in order; none when the captures are not here."""
    path = WIRE / f"{client}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        one = json.loads(line)
        yield Captured(
            one["scenario"],
            one["method"],
            one["path"],
            one["query"],
            tuple((name, value) for name, value in one["headers"]),
            one["body"],
            one["encoding"] == "gzip" or (one["note"] or "").startswith("gzip"),
            one["body_kind"] == "form",
        )

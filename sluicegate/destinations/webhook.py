"""`webhook`: posts batches as Segment does, `{"batch": [...], "sentAt": ...}`, signed by Standard Webhooks.

The headers are those of standardwebhooks.com: `webhook-id`, `webhook-timestamp`, and with a secret
`webhook-signature: v1,BASE64` over "ID.TIMESTAMP.BODY" (HMAC-SHA256). `webhook-id`, which is also the
`Idempotency-Key`, is the same whenever the same events are sent again.
"""

from __future__ import annotations

import base64
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sluicegate.destinations.answers import outcome_of
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.connections import Connections
from sluicegate.destinations.http import Origin
from sluicegate.destinations.plan import Plan, Request
from sluicegate.destinations.settings import WebhookSettings, signing_key
from sluicegate.version import __version__


class Webhook(Destination):
    """Posts each batch over a connection of the calling thread."""

    settings_type = WebhookSettings

    def __init__(self, settings: WebhookSettings, context: Context) -> None:
        super().__init__(settings, context)
        url = urlsplit(settings.url)
        self._origin = Origin.of(url)
        self._key = signing_key(settings.secret) if settings.secret else None
        self._head = _fixed_head(url.path or "/", url.query, self._origin, settings)
        self._connections = Connections(context.network)

    def test(self) -> None:
        """Connect, TLS included, and send nothing."""
        self._connections.test(self._origin)

    def deliver(self, batch: Batch) -> None:
        """Post the batch; the answer's status decides (`outcome_of`)."""
        request = self._request("msg_" + batch.key(self.context.id), *body_of(batch))
        answer = self._connections.exchange(self._origin, request, timeout_s=self.context.timeout_s)
        failure = outcome_of(answer, str(self._origin))
        if failure is not None:
            raise failure

    def destroy(self) -> None:
        """Close all connections."""
        self._connections.close()

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """The request that `deliver` would send, as far as that does not depend on the attempt."""
        body = b"".join(body_of(batch))
        key = "msg_" + batch.key(self.context.id)
        headers = dict(line.split(": ", 1) for line in self._own_headers(key, now_ms // 1_000, body))
        own = {name: value.reveal() for name, value in self.settings.headers.items()}
        return Plan([Request(self.settings.url, body, range(len(batch)), {**own, **headers})])

    def _request(self, key: str, *body: bytes) -> bytes:
        lines = [f"Content-Length: {sum(map(len, body))}", *self._own_headers(key, int(time.time()), *body)]
        return b"".join((self._head, "\r\n".join(lines).encode("ascii"), b"\r\n\r\n", *body))

    def _own_headers(self, key: str, timestamp: int, *body: bytes) -> list[str]:
        lines = [f"Idempotency-Key: {key}", f"webhook-id: {key}", f"webhook-timestamp: {timestamp}"]
        if self._key:
            lines.append(f"webhook-signature: {signature(self._key, key, timestamp, *body)}")
        return lines


def body_of(batch: Batch) -> tuple[bytes, ...]:
    """The parts of the request body: the events as they were received, never decoded."""
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return b'{"batch":[', batch.joined(), b'],"sentAt":"' + sent_at.encode() + b'"}'


def signature(key: bytes, message_id: str, timestamp: int, *body: bytes) -> str:
    """The value of `webhook-signature`; the body may come in parts."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode(), "sha256")
    for part in body:
        digest.update(part)
    return "v1," + base64.b64encode(digest.digest()).decode()


def _fixed_head(path: str, query: str, origin: Origin, settings: WebhookSettings) -> bytes:
    target = path + (f"?{query}" if query else "")
    headers = {name: value.reveal() for name, value in settings.headers.items()}
    headers |= {"Host": origin.header, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    if "user-agent" not in map(str.lower, headers):
        headers["User-Agent"] = f"sluicegate/{__version__}"
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")

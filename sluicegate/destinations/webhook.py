"""`webhook`: posts batches as Segment does, `{"batch": [...], "sentAt": ...}`, signed by Standard Webhooks.

The headers are those of standardwebhooks.com: `webhook-id`, `webhook-timestamp`, and with a secret
`webhook-signature: v1,BASE64` over "ID.TIMESTAMP.BODY" (HMAC-SHA256). `webhook-id`, which is also the
`Idempotency-Key`, is the same whenever the same events are sent again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from sluicegate.config.secret import Secret
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.http import Answer, HttpConnection, Origin
from sluicegate.destinations.settings import WebhookSettings
from sluicegate.errors import CredentialsRefused, DestinationError, NotReady, Rejected, Retry
from sluicegate.version import __version__

RETRY_STATUSES = frozenset({408, 425, 429})
REFUSED_STATUSES = {401: "credentials", 403: "credentials", 404: "gone", 410: "gone"}
"""Answers that are about us or the address and not about the events, and what to look at."""
MAX_RETRY_AFTER_S = 3600


class Webhook(Destination):
    """Posts each batch over a connection of the calling thread."""

    settings_type = WebhookSettings

    def __init__(self, settings: WebhookSettings, context: Context) -> None:
        super().__init__(settings, context)
        url = urlsplit(settings.url)
        self._origin = Origin.of(url)
        self._key = signing_key(settings.secret) if settings.secret else None
        self._head = _fixed_head(url.path or "/", url.query, self._origin, settings)
        self._threads = threading.local()
        self._connections: list[HttpConnection] = []

    def test(self) -> None:
        """Connect, TLS included, and send nothing."""
        connection = HttpConnection(self._origin, network=self.context.network)
        try:
            connection.connect()
        except OSError as error:
            raise NotReady(f"{self._origin} cannot be reached: {_text(error)}") from error
        finally:
            connection.close()

    def deliver(self, batch: Batch) -> None:
        """Post the batch; the answer's status decides (`outcome_of`)."""
        request = self._request("msg_" + batch.key(self.context.id), *body_of(batch))
        connection = self._connection()
        try:
            answer = connection.exchange(request, timeout_s=self.context.timeout_s)
        except OSError as error:
            note = " (the request was sent, so its outcome is unknown)" if connection.sent else ""
            raise Retry(f"{self._origin}: {_text(error)}{note}", outcome_unknown=connection.sent) from error
        failure = outcome_of(answer, str(self._origin))
        if failure is not None:
            raise failure

    def destroy(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def _connection(self) -> HttpConnection:
        connection: HttpConnection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = HttpConnection(self._origin, network=self.context.network)
            self._connections.append(connection)
        return connection

    def _request(self, key: str, *body: bytes) -> bytes:
        timestamp = int(time.time())
        lines = [
            f"Content-Length: {sum(map(len, body))}",
            f"Idempotency-Key: {key}",
            f"webhook-id: {key}",
            f"webhook-timestamp: {timestamp}",
        ]
        if self._key:
            lines.append(f"webhook-signature: {signature(self._key, key, timestamp, *body)}")
        return b"".join((self._head, "\r\n".join(lines).encode("ascii"), b"\r\n\r\n", *body))


def body_of(batch: Batch) -> tuple[bytes, ...]:
    """The parts of the request body: the events as they were received, never decoded."""
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return b'{"batch":[', batch.joined(), b'],"sentAt":"' + sent_at.encode() + b'"}'


def signing_key(secret: Secret) -> bytes:
    """The key in a secret: base64 behind `whsec_`, else the bytes of the text."""
    text = secret.reveal()
    if text.startswith("whsec_"):
        try:
            return base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass  # a text like any other
    return text.encode()


def signature(key: bytes, message_id: str, timestamp: int, *body: bytes) -> str:
    """The value of `webhook-signature`; the body may come in parts."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode(), "sha256")
    for part in body:
        digest.update(part)
    return "v1," + base64.b64encode(digest.digest()).decode()


def outcome_of(answer: Answer, name: str) -> DestinationError | None:
    """What an answer means: None for 2xx, else the error to raise."""
    status = answer.status
    if 200 <= status < 300:
        return None
    text = f"{name} answered {status}" + (f": {answer.excerpt}" if answer.excerpt else "")
    error: DestinationError
    if status >= 500 or status in RETRY_STATUSES:
        error = Retry(text, after_s=retry_after_s(answer.headers.get("retry-after"), now=time.time()))
    elif 300 <= status < 400:
        error = CredentialsRefused(f"moved: {name} answered {status}, which is not followed; write the final address")
    elif status in REFUSED_STATUSES:
        error = CredentialsRefused(f"{REFUSED_STATUSES[status]}: {text}")
    else:
        error = Rejected(text)
    return error.answered(status, answer.beginning())


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (a number or an HTTP date), at most 1 h; None for none or nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), MAX_RETRY_AFTER_S))
    try:
        wait = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), float(MAX_RETRY_AFTER_S))


def _fixed_head(path: str, query: str, origin: Origin, settings: WebhookSettings) -> bytes:
    target = path + (f"?{query}" if query else "")
    headers = {name: value.reveal() for name, value in settings.headers.items()}
    headers |= {"Host": origin.header, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    if "user-agent" not in map(str.lower, headers):
        headers["User-Agent"] = f"sluicegate/{__version__}"
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


def _text(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__

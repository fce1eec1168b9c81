"""Settings of the destination types that come with Sluicegate."""

from __future__ import annotations

import base64
import binascii
import re
from typing import ClassVar
from urllib.parse import urlsplit

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret

OWN_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "idempotency-key"}
)
"""Headers that the webhook sets itself, besides all that begin with `webhook-`."""
SECRET_MARK = "whsec_"
SECRET_BYTES = range(24, 65)
_KEY = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class FileSettings(Settings):
    """`path` of the JSON Lines file; a relative one lies below the data directory."""

    path: str

    limits: ClassVar[Limits] = Limits(max_events=5_000, max_bytes=4 * 1024 * 1024)
    own_file: ClassVar[str] = "path"

    def __post_init__(self) -> None:
        _check_file(self.path)


class WebhookSettings(Settings):
    """`url` that gets the batches, extra `headers`, and the `secret` that signs them (Standard Webhooks)."""

    url: str
    headers: dict[str, Secret] = {}  # noqa: RUF012  (msgspec copies it)
    secret: Secret | None = None

    limits: ClassVar[Limits] = Limits(max_events=1_000, max_bytes=450 * 1024, in_flight=8)

    def __post_init__(self) -> None:
        check_url(self.url)
        for name, value in self.headers.items():
            _check_header(name, value)
        if self.secret is not None:
            signing_key(self.secret)


class ConsoleSettings(Settings):
    """`path` of the file that gets the lines, relative to the data directory; without it they go to the actors' log."""

    path: str | None = None

    own_file: ClassVar[str] = "path"

    def __post_init__(self) -> None:
        if self.path is not None:
            _check_file(self.path)


class NullSettings(Settings):
    """No settings; events are counted and forgotten."""

    limits: ClassVar[Limits] = Limits(max_events=5_000, max_bytes=4 * 1024 * 1024)


def _check_file(path: str) -> None:
    """Raise `ValueError` for a path without a name, as of a variable that is empty: it would be the data directory."""
    if not path.strip():
        raise ValueError('path: is empty; name a file, such as "events.jsonl"')


def signing_key(secret: Secret) -> bytes:
    """The key in a secret of Standard Webhooks; raises `ValueError` for another one."""
    prefix, marked, text = secret.reveal().rpartition(SECRET_MARK)
    try:
        key = base64.b64decode(text, validate=True) if marked and not prefix else b""
    except binascii.Error:
        key = b""
    if len(key) not in SECRET_BYTES:
        raise ValueError(
            f"secret: is not {SECRET_MARK} and base64 of {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} bytes, as"
            f' receivers expect it (Standard Webhooks); write {SECRET_MARK} and what "openssl rand -base64 32" prints'
        )
    return key


def check_url(url: str) -> None:
    """Raise `ValueError` unless this is an http or https address that requests can be posted to."""
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
        (parts.hostname or "").encode("idna")  # an empty or long label is no name
    except ValueError:
        raise ValueError("url: not a web address; write https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port_is_wrong:
        raise ValueError("url: not a web address; write https://host/path")
    if parts.username or parts.password:
        raise ValueError('url: has a user name or password; write headers = { Authorization = "Basic ${NAME}" }')
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("url: has characters that an address cannot have; write them percent-encoded")


def check_key(name: str, value: Secret | str) -> None:
    """Raise `ValueError` unless this can be a key that a vendor has given out; each of them is visible ASCII.

    A line end behind it, as variables have that were read from a file, ends a header before its time; GA4 takes such a
    key, answers 204 and keeps nothing.
    """
    text = value.reveal() if isinstance(value, Secret) else value
    if not _KEY.fullmatch(text):
        raise ValueError(f"{name}: is empty, or has a space, a line end or a letter that no key has; copy it once more")


def _check_header(name: str, value: Secret) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"headers: {name!r} is not a header name; use letters, digits and -")
    if name.lower() in OWN_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError(f"headers: {name} is set by Sluicegate; remove it")
    text = value.reveal()
    if any(ord(c) < 32 or ord(c) == 127 or ord(c) > 255 for c in text):
        raise ValueError(f"headers: the value of {name} has characters that a header cannot have; remove them")

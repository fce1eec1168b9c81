"""Which source a request speaks for, by its write key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

import msgspec

from sluicegate.config.hashed import digest_of
from sluicegate.config.secret import Secret

MAX_CACHED = 1_024
MAX_KEY_BYTES = 1_024
KEY_MEMBER = b'"writeKey"'
_MASKED = b'"***"'
_ESCAPE = b"\\u00"
_ESCAPED_MEMBER = b'"%b"' % b"".join([rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in b"writeKey"])
_TO_VALUE, _TEXT = rb"\s*+:\s*+)", rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")'
_KEY_VALUE, _ESCAPED_KEY_VALUE = [
    re.compile(rb"(" + member + _TO_VALUE + _TEXT, re.DOTALL) for member in (KEY_MEMBER, _ESCAPED_MEMBER)
]
"""The second, for names whose letters may be escapes, takes five times as long."""


class WriteKeys:
    """The configured write keys by source, each plain or as its hash.

    A key is compared as its SHA-256 with every configured key, without an early exit, so that the time taken says
    nothing about how much of a guess was right or whose key it was.
    """

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._digests = [(digest_of(secret.reveal()), source) for source, secret in keys.items()]
        self._known: dict[bytes, str] = {}
        """The sources of headers that were right, by the headers' SHA-256: no key stays in memory as it was sent."""

    def source(self, key: bytes) -> str | None:
        """The source that this key belongs to, None for a key that nobody has."""
        if not key or len(key) > MAX_KEY_BYTES:
            return None
        given = _digest(key)
        found = None
        for digest, source in self._digests:
            if hmac.compare_digest(digest, given):
                found = source
        return found

    def source_of_header(self, authorization: bytes) -> str | None:
        """The source of an `Authorization` header, None if its key is unknown.

        Headers that were right are remembered by their digest, so that a guess that is nearly right takes no longer
        to look for than any other.
        """
        digest = _digest(authorization)
        source = self._known.get(digest)
        if source is None:
            key = key_of_authorization(authorization)
            source = self.source(key) if key else None
            if source is not None:
                self._remember(digest, source)
        return source

    def _remember(self, digest: bytes, source: str) -> None:
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[digest] = source


def key_of_authorization(authorization: bytes) -> bytes | None:
    """The Basic user name or Bearer token in this header value, None if there is none."""
    scheme, _, rest = authorization.strip().partition(b" ")
    scheme = scheme.lower()
    if scheme == b"bearer":
        return rest.strip() or None
    if scheme != b"basic":
        return None
    try:
        user, _, _ = base64.b64decode(rest.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return user or None


def key_of_write_key_header(value: bytes) -> bytes | None:
    """The key in `X-Write-Key: KEY:SECRET`."""
    return value.strip().partition(b":")[0] or None


def without_key(body: bytes, key: bytes) -> bytes:
    """A body of JSON with `***` for this key wherever it is the value of `writeKey`, however the two are escaped.

    @jitsu/js has the key there as in its header, with a colon and a masked secret behind.
    """
    pattern = _ESCAPED_KEY_VALUE if _ESCAPE in body else _KEY_VALUE
    return pattern.sub(lambda found: found[1] + (_MASKED if _is_key(found[2], key) else found[2]), body)


def _is_key(value: bytes, key: bytes) -> bool:
    try:
        text = msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return text.partition(":")[0].encode() == key


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

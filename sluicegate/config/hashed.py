"""Keys of senders that the configuration holds as a hash: `sha256:` and 64 hexadecimal digits.

A plain SHA-256 is right for keys that nobody can guess, as `sluicegate hash-key` makes them: there is nothing to try
out, so a slow hash would only slow requests down. What a plain key looks like forbids colons, so none is a hash.
"""

from __future__ import annotations

import hashlib
import re

from sluicegate.config.problems import Wrong

MIN_HASHED_KEY = 22
"""Characters of a key that is to be hashed: 128 random bits in base64."""
_PREFIX = "sha256:"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_EMPTY = hashlib.sha256(b"").hexdigest()


def is_hashed(text: str) -> bool:
    """Whether a configured key is meant as a hash; `check_hash` says whether it is one."""
    return text.lower().startswith(_PREFIX)


def check_hash(text: str) -> None:
    """Raise `Wrong` unless this is a hash of some key."""
    if not _HASH.fullmatch(text):
        raise Wrong("is no hash", "write sha256: and 64 hexadecimal digits, as sluicegate hash-key prints them")
    if text.endswith(_EMPTY):
        raise Wrong("is the hash of an empty key", "hash a key, or have both made by sluicegate hash-key")


def hashed(key: str) -> str:
    """A key as the configuration may hold it."""
    return f"{_PREFIX}{hashlib.sha256(key.encode()).hexdigest()}"


def digest_of(configured: str) -> bytes:
    """The SHA-256 of the key that was configured, plain or hashed."""
    return bytes.fromhex((configured if is_hashed(configured) else hashed(configured)).removeprefix(_PREFIX))

"""Who consent is of: the ids that a record names, and the keys that the ledger knows them by."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import NamedTuple, TypeGuard

from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.owner import give_to_owner

MAX_ID_LENGTH = 255
KEY_BYTES = 16
"""Of 100 million subjects two have the same key with a probability of 1.5e-23."""
SECRET_BYTES = 32


def is_id(value: object) -> TypeGuard[str]:
    """Whether this is a text that can be somebody's id: half a surrogate pair has no UTF-8, so that no message, event
    or file could hold it. An empty one is nobody's, and no mistake.
    """
    if not isinstance(value, str) or len(value) > MAX_ID_LENGTH:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Subject(NamedTuple):
    """The ids that a record names; None for one that it does not name."""

    user_id: str | None = None
    anonymous_id: str | None = None

    @property
    def is_nobody(self) -> bool:
        """Whether no id is named, so that there is nothing to know or to keep."""
        return not (self.user_id or self.anonymous_id)


Ids = tuple[str | None, str | None]
"""A subject as a plain tuple, which equals it: of many events they are had without making each a `Subject`."""


class SubjectKeys:
    """Turns ids into keys: a keyed BLAKE2b of the id and its kind.

    The ledger's file so holds no id, and who has the file without the secret can't try ids out. Whoever knows an id and
    has both finds the entry: that is what showing and erasing need. A user and a visitor of the same id are two.
    """

    def __init__(self, secret: bytes) -> None:
        self._user = hashlib.blake2b(digest_size=KEY_BYTES, key=secret, person=b"user")
        self._anonymous = hashlib.blake2b(digest_size=KEY_BYTES, key=secret, person=b"anonymous")
        self.fingerprint = hashlib.blake2b(digest_size=KEY_BYTES, key=secret, person=b"fingerprint").digest()
        """Tells two secrets apart without giving them away."""
        self.redaction = hashlib.blake2b(digest_size=SECRET_BYTES, key=secret, person=b"redaction").digest()
        """The secret that message ids of redacted events are hashed with."""

    def user(self, user_id: str) -> bytes:
        """The key of a known user."""
        state = self._user.copy()
        state.update(user_id.encode("utf-8", "surrogatepass"))
        return state.digest()

    def anonymous(self, anonymous_id: str) -> bytes:
        """The key of a visitor."""
        state = self._anonymous.copy()
        state.update(anonymous_id.encode("utf-8", "surrogatepass"))
        return state.digest()

    def of(self, subject: Ids) -> tuple[bytes, ...]:
        """The keys of all ids named, the device's first; empty for nobody."""
        user_id, anonymous_id = subject
        if not user_id:
            return (self.anonymous(anonymous_id),) if anonymous_id else ()
        return (self.anonymous(anonymous_id), self.user(user_id)) if anonymous_id else (self.user(user_id),)


def load_secret(path: Path, *, create: bool) -> bytes:
    """The secret in this file (mode 0600), made when `create` and there is none; never made a second time.

    Raises `LogDamaged` for a file that is missing or holds something else, `LogUnavailable` when it can't be read.
    """
    try:
        if create and not path.exists():
            _make_secret(path)
        secret = path.read_bytes()
    except FileNotFoundError:
        raise LogDamaged(
            f"{path}: the key of the consent ledger is missing; restore it together with the ledger"
        ) from None
    except OSError as error:
        raise LogUnavailable(f"{path}: {error.strerror or error}") from error
    if len(secret) != SECRET_BYTES:
        raise LogDamaged(f"{path}: is not the key of a consent ledger; restore it together with the ledger")
    return secret


def _make_secret(path: Path) -> None:
    """A link makes the file appear whole, and once only when two processes make it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            give_to_owner(handle, path.parent)
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(handle)
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)

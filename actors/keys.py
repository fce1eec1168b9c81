"""The key file of a data directory: whoever can read it may talk to the actors."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from sluicegate.errors import NotRunning, SluicegateError

KEY_BYTES = 32


class KeyUnsafe(SluicegateError):
    """The key file is readable by others, or does not hold a key."""


def load_or_create_key(path: Path) -> bytes:
    """The key in this file, made with mode 0600 when there is none; raises `KeyUnsafe` as `load_key` does.

    Two processes that do this at once end with the same key: the file appears complete, and only once.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    return load_key(path)


def load_key(path: Path) -> bytes:
    """The 32 bytes of the key file; raises `NotRunning` when there is none, `KeyUnsafe` when others can read it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(KEY_BYTES + 1)
    except FileNotFoundError:
        raise NotRunning(f"no key at {path}: is this the data directory of a running system?") from None
    except PermissionError:
        raise KeyUnsafe(f"no permission to read {path}: run as the user that runs the system") from None
    if mode & 0o077:
        raise KeyUnsafe(f"{path} has mode {mode:04o} and others can read it: chmod 600 {path}, or delete it")
    if len(key) != KEY_BYTES:
        raise KeyUnsafe(f"{path} does not hold a key of {KEY_BYTES} bytes: stop the system and delete it")
    return key

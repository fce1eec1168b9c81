"""Whether a destination minds itself: a lock that its process takes before it claims the store, and that ends with it.

Whoever reads an epoch from a store, and then finds nobody present, knows that the process of that epoch is gone: nobody
can commit under it any more, and the next one will claim a greater one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sluicegate.lock import holder


class Presence:
    """Told to all processes from its making until `close`, or until this process ends however that happens.

    Shared, as a process that is hung must not keep out the one that replaces it. Forked children do not have it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._fd, fcntl.LOCK_SH)

    def close(self) -> None:
        """This process writes no more into the store."""
        os.close(self._fd)


def is_present(path: Path) -> bool:
    """Whether another process tells so by this file, or may, because it cannot be read; takes some microseconds."""
    try:
        return holder(path) is not None
    except OSError:
        return True

"""Whose the files of a data directory are, when root works in that of a service."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_to_owner(fd: int, folder: Path) -> None:
    """Give a new file in this folder to whom the folder belongs, if this is root.

    The commands may be run as root, and what they make the service has to open afterwards.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):  # root of a container, say, which may give nothing away
        owner = folder.stat()
        if owner.st_uid != 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)

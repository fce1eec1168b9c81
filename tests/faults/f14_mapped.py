"""On a disk without a free byte: files that are mapped into memory, as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sluicegate.consent.suppressed import SuppressedCount, read_suppressed
from sluicegate.delivery.deciding import Deciding


def main(folder: Path) -> None:
    """Count suppressed events and begin to decide on the full disk, and again when there is room."""
    ballast = folder / "ballast"
    _fill(ballast)
    path, count = folder / "suppressed", SuppressedCount(folder / "suppressed", "http")
    found = {"decides": _decides(folder)}
    count.add(2)
    ballast.unlink()
    count.add(1)
    print(json.dumps({**found, "suppressed": read_suppressed(path)["http"], "decides_again": _decides(folder)}))


def _fill(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 1 << 12):
        try:
            while os.write(fd, bytes(size)):
                pass
        except OSError:
            continue
    os.close(fd)


def _decides(folder: Path) -> str:
    try:
        deciding = Deciding(folder, "crm")
    except OSError as error:
        return str(error.strerror)
    deciding.begin()
    deciding.done()
    deciding.close()
    return "yes"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Finding the running system of a data directory."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from sluicegate.errors import NotRunning
from sluicegate.lock import holder
from sluicegate.paths import DataDir


@dataclass(frozen=True, slots=True)
class Running:
    """What a running launcher listens on, as it wrote it down at start."""

    pid: int
    gateway: str
    actor_port: int


def write_running(data_dir: DataDir, running: Running) -> None:
    """Write down what this launcher listens on, for programs of the same user."""
    draft = data_dir.running.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(asdict(running), file)
    os.replace(draft, data_dir.running)


def find_running(data_dir: DataDir) -> Running:
    """The system that runs on this data directory; raises `NotRunning` when none does.

    The lock decides: a file left behind by a killed launcher is not believed.
    """
    try:
        pid = holder(data_dir.lock)
    except OSError as error:
        reason = f"cannot be looked at: {error.strerror}; run as the user whose system it is"
        raise NotRunning(f"{data_dir.root} {reason}") from error
    try:
        running = Running(**json.loads(data_dir.running.read_text()))
    except (OSError, ValueError, TypeError):
        running = None
    if pid is None or running is None or running.pid != pid:
        raise NotRunning(
            f"nothing runs on {data_dir.root}; start it with `sluicegate serve --data-dir {data_dir.root}`"
        )
    return running

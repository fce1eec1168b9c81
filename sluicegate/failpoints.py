"""Failpoints: named places where a test makes a process die, stop or fail at exactly that moment.

A testing device. `SG_FP=NAME[:NTH[:ACTION]]`, several separated by commas, arms points in the processes that are
started with it in their environment: at the NTH time (the first if left out) that a process comes to the point it
does the ACTION: `exit` (the default: ends at once, as a crash does), `kill` (SIGKILL), `stop` (SIGSTOP) or `raise`.
With `SG_FP_DIR` a point that fires leaves a file of its name there, with the process's pid, and a point whose file is
there does not fire again: so it fires once, however often the process is started anew, and a test sees that it did.

Harmless in production: nothing but the environment of the process arms a point, and whoever can set that can kill
the process anyway. A point does nothing that a crash or a stopped machine may not do at the same place, so what was
acknowledged survives it. Not armed, a point costs the look at one global, once per commit or call and never per event.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sluicegate.errors import SluicegateError

EXIT_CODE = 137


class Point(StrEnum):
    """Where a process can be hit."""

    BEFORE_COMMIT = "before_commit"
    """The rows are in the event log's transaction, which is not committed."""
    AFTER_COMMIT = "after_commit"
    """The rows are on disk, and nobody has been told."""
    AFTER_POST = "after_post"
    """A vendor has taken a batch, and the cursor has not moved."""
    BEFORE_CURSOR_COMMIT = "before_cursor_commit"
    """A destination is about to write down its progress."""
    IN_SPAWN = "in_spawn"
    """A destination's process has begun, and its plugin is not made."""
    IN_INITIALIZE = "in_initialize"
    """A destination's plugin is made, and `initialize` was not called."""
    IN_DRAIN = "in_drain"
    """A destination has been told to stop, and calls may be in flight."""
    IN_CHECKPOINT = "in_checkpoint"
    """The event log's WAL is about to be moved to the database."""
    IN_RETRY_WAIT = "in_retry_wait"
    """A call has failed, and its events wait for the next one."""
    IN_ERASING = "in_erasing"
    """A row of the event log has been looked at, and what was to be erased of it is erased."""


class Action(StrEnum):
    """What happens at an armed point."""

    EXIT = "exit"
    KILL = "kill"
    STOP = "stop"
    RAISE = "raise"


class Injected(SluicegateError):
    """The failure that the action `raise` brings."""


@dataclass(slots=True)
class _Armed:
    """One armed point of this process: after how many more visits it fires, and with what."""

    left: int
    action: Action


def parse(text: str) -> dict[Point, _Armed]:
    """The points that a value of `SG_FP` arms; raises `ValueError` for one that cannot be understood."""
    found = {}
    for part in filter(None, text.split(",")):
        name, nth, action, *more = [*part.split(":"), "", ""][: max(3, part.count(":") + 1)]
        if more or (nth and not nth.isdecimal()):
            raise ValueError(f"SG_FP: {part!r} is not NAME[:NTH[:ACTION]]")
        found[Point(name)] = _Armed(int(nth or 1), Action(action or Action.EXIT))
    return found


def arm(environ: Mapping[str, str]) -> None:
    """Arm this process, and those that are forked from it, with what the environment says."""
    global ARMED, _folder
    ARMED = parse(environ.get("SG_FP", "")) or None
    _folder = Path(environ["SG_FP_DIR"]) if "SG_FP_DIR" in environ else None


def hit(point: Point) -> None:
    """Come to a point; call it only when `ARMED` is set."""
    armed = (ARMED or {}).get(point)
    if armed is None:
        return
    armed.left -= 1
    if armed.left == 0 and _is_first(point):
        _fire(point, armed.action)


ARMED: dict[Point, _Armed] | None = None
"""None, or what is armed: `if failpoints.ARMED: failpoints.hit(...)`."""
_folder: Path | None = None


def _is_first(point: Point) -> bool:
    if _folder is None:
        return True
    try:
        fd = os.open(_folder / point, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    os.write(fd, b"%d" % os.getpid())
    os.close(fd)
    return True


def _fire(point: Point, action: Action) -> None:
    print(f"failpoint {point}: {action} in process {os.getpid()}", file=sys.stderr, flush=True)
    match action:
        case Action.EXIT:
            os._exit(EXIT_CODE)
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.RAISE:
            raise Injected(f"failpoint {point}")


arm(os.environ)

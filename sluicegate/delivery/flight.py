"""Which calls are under way, where a process that dies leaves it behind for the next one.

A small file beside the store, written in place before and after every call: two system calls of about a microsecond
each. It is not synced: a process that dies loses nothing of it, and what a power cut does to it only costs precision.

    file    magic, epoch, bytes per slot, slots, ...
    slot    kind, number of offsets, first, last, the offsets themselves where they are scattered
"""

from __future__ import annotations

import logging
import os
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lane import Origin, Work

logger = logging.getLogger(__name__)

_MAGIC = b"SGcalls1"
_HEAD = struct.Struct("<8sQII")
_SLOT = struct.Struct("<IIqq")
_FREE, _SPAN, _LIST, _REPLAY, _HELD = range(5)
_NOTHING = _SLOT.pack(_FREE, 0, 0, 0)
_KINDS = {Origin.LOG: _LIST, Origin.LETTERS: _REPLAY, Origin.HELD: _HELD}
MAX_LISTED = 4_096
"""Offsets that are written down one by one; of a larger scattered call only the first and the last."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A call of `n_events` that had not ended: its offsets when they are known, else those from `first` to `last` that
    the destination may have.

    Of a `replay` the offsets are ids of dead letters; `released` events had been held.
    """

    n_events: int
    first: int
    last: int
    offsets: Sequence[int] | None
    replay: bool
    released: bool = False


class FlightRecord:
    """The calls of one process; belongs to one thread. When the file cannot be written it goes without."""

    def __init__(self, path: Path, *, epoch: int, limits: Limits) -> None:
        self._slot_bytes = _SLOT.size + 8 * min(limits.max_events, MAX_LISTED)
        self._free = list(range(limits.in_flight))
        self._used: dict[Work, int] = {}
        self._fd: int | None = None
        try:
            path.unlink(missing_ok=True)  # a process that was replaced and is still there goes on writing to its own
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(self._fd, _HEAD.pack(_MAGIC, epoch, self._slot_bytes, limits.in_flight))
        except OSError as error:
            self._give_up(error)

    def began(self, work: Work) -> None:
        """A call is about to be made."""
        if not self._free:
            return
        slot = self._used[work] = self._free.pop()
        runs = work.lane.parts[0].events.runs
        first, last, n = runs[0].offsets[0], runs[-1].offsets[-1], len(work.batch)
        listed = b""
        kind = _SPAN
        if work.lane.origin is not Origin.LOG or work.lane.scattered:
            kind = _KINDS[work.lane.origin]
            listed = array("q", work.batch.offsets[:MAX_LISTED]).tobytes()
        self._write(slot, _SLOT.pack(kind, n, first, last) + listed)

    def ended(self, work: Work) -> None:
        """It has ended, however it did."""
        slot = self._used.pop(work, None)
        if slot is not None:
            self._free.append(slot)
            self._write(slot, _NOTHING)

    def close(self) -> None:
        """The process ends on purpose: what is still under way is nobody's fault."""
        for work in list(self._used):
            self.ended(work)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, slot: int, data: bytes) -> None:
        if self._fd is None:
            return
        try:
            os.pwrite(self._fd, data, _HEAD.size + slot * self._slot_bytes)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning("cannot note which calls are under way: %s", error.strerror)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def interrupted_calls(path: Path) -> tuple[int, list[Interrupted]]:
    """The epoch that wrote the file, and its calls that had not ended; (0, []) when there is nothing to be read."""
    try:
        data = path.read_bytes()
        magic, epoch, slot_bytes, n_slots = _HEAD.unpack_from(data)
    except (OSError, struct.error):
        return 0, []
    if magic != _MAGIC:
        return 0, []
    found = []
    for at in range(_HEAD.size, min(len(data), _HEAD.size + n_slots * slot_bytes), slot_bytes):
        call = _interrupted(data[at : at + slot_bytes])
        if call is not None:
            found.append(call)
    return epoch, found


def _interrupted(slot: bytes) -> Interrupted | None:
    if len(slot) < _SLOT.size:
        return None
    kind, n, first, last = _SLOT.unpack_from(slot)
    if kind not in (_SPAN, _LIST, _REPLAY, _HELD):
        return None
    offsets: array[int] | None = array("q")
    if kind == _SPAN or n > MAX_LISTED or len(slot) < _SLOT.size + 8 * n:
        offsets = None
    else:
        assert offsets is not None
        offsets.frombytes(slot[_SLOT.size : _SLOT.size + 8 * n])
    return Interrupted(n, first, last, offsets, kind == _REPLAY, kind == _HELD)

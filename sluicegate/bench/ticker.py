"""A steady clock for the open loop: the kernel's timerfd, since uvloop's own timers have whole milliseconds only."""

from __future__ import annotations

import ctypes
import os

_CLOCK_MONOTONIC = 1
_NS = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def open_ticker(interval_ns: int) -> int:
    """A descriptor that becomes readable every `interval_ns`; see `read_ticks`. The caller closes it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    step = _Timespec(interval_ns // _NS, interval_ns % _NS)
    if libc.timerfd_settime(descriptor, 0, ctypes.byref(_Itimerspec(step, step)), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return descriptor


def read_ticks(descriptor: int) -> int:
    """How many intervals have passed since the last call; 0 when none has."""
    try:
        return int.from_bytes(os.read(descriptor, 8), "little")
    except BlockingIOError:
        return 0

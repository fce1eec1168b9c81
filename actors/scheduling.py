"""Which processes wait for the processor when there is too little of it: those whose work waits in the log anyway."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct

NICENESS = 5
"""Clients wait for the gateway, and operators for the control plane; what is to be delivered waits in the log. Where
the processors are too few for all, the system takes a fifth more events for it."""
SLICE_S = 0.02
"""How long a destination would compute at a time. The kernel lets whoever wakes up have the processor of a process
whose slice is longer at once, instead of after 3 ms: a destination's turn of a millisecond, many times a second, keeps
no client waiting and not the gateway. Where they share two processors the system takes an eighth more single events."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Numbers of the system call, for which glibc has a function only from 2.41 on."""
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")  # sched_setattr(2): size, policy, flags, nice, priority, runtime, and two more


def stand_back() -> None:
    """Leave the processor to others first; for this thread and all that it starts."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # some sandboxes forbid to look at the policy
        _ask_for_slices(SLICE_S)


class Room:
    """Leaves one processor to others while that costs this process nothing; see `leave`.

    A gateway that shares its processor with destinations gets it back late after each wait for the disk: the kernel
    moves one of them there meanwhile, and owes it the rest of its turn. Off it they have the others between them.
    Where a sandbox forbids it all stays as it is.
    """

    def __init__(self) -> None:
        self._all: set[int] = set()
        with contextlib.suppress(OSError):
            self._all = os.sched_getaffinity(0)
        self._others = self._all - {max(self._all, default=0)}

    def leave(self, leaves: bool) -> None:
        """Stay off the last of the processors that this process may use, if it has several, or use all again."""
        if not self._others:
            return
        with contextlib.suppress(OSError):
            for task in os.listdir("/proc/self/task"):
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.sched_setaffinity(int(task), self._others if leaves else self._all)


def _ask_for_slices(slice_s: float) -> None:
    """Have slices of so many seconds, under the policy that is (Linux 6.12, EEVDF); else all stays as it is."""
    policy, number = os.sched_getscheduler(0), _SCHED_SETATTR.get(platform.machine())
    if policy not in (os.SCHED_OTHER, os.SCHED_BATCH) or number is None:
        return
    slice_ns = round(slice_s * 1e9)
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, 0, os.nice(0), 0, slice_ns, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)

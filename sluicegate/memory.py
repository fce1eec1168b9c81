"""What processes share with their parent, and how the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1  # mallopt(3), malloc.h of glibc
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
KEEP_BYTES = 16 * 1024 * 1024
MAX_ARENAS = 2
"""glibc would give each thread an arena of its own, 64 MiB of address space (malloc(3), mallopt(3)): with 8 calls to a
vendor under way a process of 60 MB ran into a limit of 256 MB. Threads that hold the interpreter's lock by turns gain
nothing from more."""

GC_THRESHOLD = 20_000
"""New objects between collections."""


def keep_freed_memory() -> None:
    """Have malloc use freed memory again instead of giving it back: for processes that handle one batch after another.

    Buffers of some hundred KB are otherwise mapped and unmapped for each batch, and the kernel clears their pages each
    time; that was a tenth of the CPU of a busy system. At most `KEEP_BYTES` for each of `MAX_ARENAS` stay with the
    process. Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, MAX_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, KEEP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES)


def collect_seldom() -> None:
    """Look for cycles of garbage less often: for processes whose batches are freed by reference counts alone."""
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def share_with_children() -> None:
    """Have processes that are forked from now on share what is in memory now; call it just before the first fork.

    A collection in a child would write to every object that is there, and so copy the pages they lie on. What is here
    now is never collected any more.
    """
    gc.collect()
    gc.freeze()

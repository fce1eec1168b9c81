"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1  # mallopt(3), malloc.h of glibc
_M_MMAP_THRESHOLD = -3
KEEP_BYTES = 16 * 1024 * 1024


def keep_freed_memory() -> None:
    """Have malloc use freed memory again instead of giving it back: for processes that handle one batch after another.

    Buffers of some hundred KB are otherwise mapped and unmapped for each batch, and the kernel clears their pages each
    time; that was a tenth of the CPU of a busy system. At most `KEEP_BYTES` per thread stay with the process. Does
    nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEEP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES)

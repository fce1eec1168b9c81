"""What process trees cost, read from `/proc`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def tree(root_pid: int) -> list[int]:
    """The process and all its descendants that are alive; empty when it is gone.

    Processes whose parent ended belong to the tree as long as their new parent does, as under a subreaper.
    """
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root_pid] if _stat(root_pid) else []
    for pid in found:
        found += children.get(pid, [])
    return found


def started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of these processes since they started, with those of their children that were waited for."""
    return sum(_cpu_ticks(pid) for pid in pids) / _TICKS_PER_S


def tree_cpu_s(root_pid: int) -> float:
    """CPU seconds of a whole tree, ended processes included; the difference of two calls is what it used meanwhile."""
    return cpu_s(tree(root_pid))


def tree_pss_bytes(root_pid: int) -> int:
    """Memory of a whole tree: proportional set size, which counts a page shared by n processes as 1/n in each."""
    return sum(_pss_bytes(pid) for pid in tree(root_pid))


def fsync_ms(folder: Path, *, times: int = 50, n_bytes: int = 52_000) -> float:
    """Median milliseconds to append `n_bytes` to a file in this folder and fdatasync it."""
    path = folder / "fsync.probe"
    block = os.urandom(n_bytes)
    durations = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(times):
            start = time.perf_counter()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            durations.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return median(durations) * 1000


def filesystem(folder: Path) -> str:
    """Type of the file system that holds this folder, such as `ext4`; `tmpfs` makes every fsync free."""
    best, kind = "", "unknown"
    target = str(folder.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, mount, fs_type, *_rest = line.split(" ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fs_type
    return kind


def _stat(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` after the name: state, parent, ...; None for a process that is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _cpu_ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(value) for value in fields[11:15]) if fields else 0  # utime, stime, cutime, cstime


def _pss_bytes(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0

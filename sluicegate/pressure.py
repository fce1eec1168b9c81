"""How much of the memory that we may use is in use: by the limit of our control group, else by what the machine has.

Pages of files that the kernel can drop at any time do not count as used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What is in use of what may be."""

    used_bytes: int
    limit_bytes: int

    @property
    def percent(self) -> float:
        """The part that is in use."""
        return self.used_bytes / self.limit_bytes * 100


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a version of control groups says what."""

    limits: tuple[str, ...]
    used: str
    droppable: tuple[str, ...]
    """Of `memory.stat`."""


_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = _Files(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))
"""Above `memory.high` the kernel slows us down before it would end anybody at `memory.max`: the lower one counts."""


def memory_use(root: Path | None = None) -> MemoryUse | None:
    """What is in use now: of the group or of one above it, whichever is closest to its limit; None if nothing says it.

    Takes some ten microseconds for each file. `root` has `proc` and `sys`.
    """
    root = ROOT if root is None else root
    machine = _machine(root)
    groups = [use for use in _groups(root) if machine is None or use.limit_bytes < machine.limit_bytes]
    return max(groups, key=lambda use: use.percent, default=machine)


def _machine(root: Path) -> MemoryUse | None:
    fields = dict(line.split()[:2] for line in _text(root / "proc/meminfo").splitlines() if len(line.split()) > 1)
    total, available = _number(fields.get("MemTotal:")), _number(fields.get("MemAvailable:"))
    if not total or available is None:
        return None
    return MemoryUse((total - available) * 1024, total * 1024)


def _groups(root: Path) -> Iterator[MemoryUse]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            yield from _upwards(root / "sys/fs/cgroup", path, _V2)
        elif "memory" in controllers.split(","):
            yield from _upwards(root / "sys/fs/cgroup/memory", path, _V1)


def _upwards(mount: Path, path: str, files: _Files) -> Iterator[MemoryUse]:
    """The group and those above it; in a container its path may be one that is seen from outside only."""
    folder = mount / path.lstrip("/") if ".." not in path.split("/") else mount
    while True:
        use = _group(folder, files)
        if use is not None:
            yield use
        if folder == mount:
            return
        folder = folder.parent


def _group(folder: Path, files: _Files) -> MemoryUse | None:
    limits = [limit for limit in (_number(_text(folder / name)) for name in files.limits) if limit]
    used = _number(_text(folder / files.used)) if limits else None
    if used is None:
        return None
    lines = (line.split() for line in _text(folder / "memory.stat").splitlines())
    droppable = sum(int(line[1]) for line in lines if line[0] in files.droppable)
    return MemoryUse(max(0, used - droppable), min(limits))


def _number(text: str | None) -> int | None:
    """A whole number; None for what is none, as "max" for no limit."""
    text = (text or "").strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""

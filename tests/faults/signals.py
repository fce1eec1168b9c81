"""The signal driver: finds the processes of a system by their part in it, kills, stops and continues them, and looks
whether that has really happened."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.end_to_end.harness import poll

GONE_S = 30.0


class NotFired(AssertionError):
    """A fault that did not happen: the scenario proves nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the system: `started` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    role: str
    """launcher, gateway, actor system, supervisor, router, "destination ID", or what it calls itself."""
    state: str
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs, or is stopped."""
        now = read_part(self.pid)
        return now is not None and now.started == self.started and now.state not in "ZX"


def read_part(pid: int) -> Part | None:
    """A process as /proc shows it (proc(5)); None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return None
    return Part(pid, int(fields[1]), _role(title), fields[0], int(fields[19]))


def _role(title: str) -> str:
    name = title.removeprefix("sluicegate: ")
    return name if name.startswith("destination ") or name == "actor system" else name.split(" ")[0]


def cpu_s(pid: int) -> float:
    """The CPU time of a process, in seconds; 0 when it is gone."""
    return _cpu_s(pid, 11)


def ended_children_cpu_s(pid: int) -> float:
    """The CPU time of its children that have ended, and of theirs."""
    return _cpu_s(pid, 13)


def _cpu_s(pid: int, at: int) -> float:
    """Two fields of proc(5) that follow each other."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[at]) + int(fields[at + 1])) / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[Part]:
    """A process and everything below it, zombies left out."""
    found = [part for name in os.listdir("/proc") if name.isdigit() and (part := read_part(int(name)))]
    pids = {pid}
    while more := {part.pid for part in found if part.parent in pids} - pids:
        pids |= more
    return [part for part in found if part.pid in pids and part.state not in "ZX"]


def find(launcher: int, role: str) -> Part:
    """The process with this role; waits for it, since it may just be starting."""

    def look() -> list[Part]:
        return [part for part in below(launcher) if part.role == role]

    return poll(f"a process that is the {role}", look)[0]  # type: ignore[no-any-return]


def kill(parts: Iterable[Part]) -> None:
    """SIGKILL all of them as close together as can be; raises `NotFired` unless all of them are gone by that."""
    parts = list(parts)
    pidfds = [_pidfd(part) for part in parts]
    try:
        for part, pidfd in zip(parts, pidfds, strict=True):
            if pidfd is not None:
                _send(part, pidfd, signal.SIGKILL, needed=part is parts[0])
        _await_end(pidfds)
    finally:
        for pidfd in pidfds:
            if pidfd is not None:
                os.close(pidfd)


def stop(parts: Iterable[Part]) -> None:
    """SIGSTOP them; raises `NotFired` unless each of them stands still."""
    for part in parts:
        _signal(part, signal.SIGSTOP)
        poll(f"{part.role} to stand still", partial(_stands_still, part))


def standing(pid: int) -> Part:
    """A process that stops itself, once it stands still."""
    part = read_part(pid)
    if part is None:
        raise NotFired(f"process {pid} was gone before it stood still")
    poll(f"{part.role} to stand still", partial(_stands_still, part))
    return part


def resume(parts: Iterable[Part]) -> None:
    """SIGCONT those that still exist."""
    for part in parts:
        with contextlib.suppress(NotFired):
            _signal(part, signal.SIGCONT)


@contextlib.contextmanager
def stopped(parts: Iterable[Part]) -> Iterator[None]:
    """Stand still for the length of a `with` block."""
    parts = list(parts)
    try:
        stop(parts)
        yield
    finally:
        resume(parts)


def _stands_still(part: Part) -> bool:
    now = read_part(part.pid)
    return now is not None and now.state in "Tt"


def _pidfd(part: Part) -> int | None:
    try:
        return os.pidfd_open(part.pid)
    except ProcessLookupError:
        return None


def _signal(part: Part, number: signal.Signals) -> None:
    pidfd = _pidfd(part)
    if pidfd is None or not part.alive:
        raise NotFired(f"{part.role} (process {part.pid}) was gone before it got {number.name}")
    try:
        _send(part, pidfd, number, needed=True)
    finally:
        os.close(pidfd)


def _send(part: Part, pidfd: int, number: signal.Signals, *, needed: bool) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        if needed:
            raise NotFired(f"{part.role} (process {part.pid}) was gone before it got {number.name}") from None


def _await_end(pidfds: Iterable[int | None]) -> None:
    for pidfd in pidfds:
        if pidfd is None:
            continue
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(GONE_S * 1000):
            raise NotFired("a process is still there after SIGKILL")

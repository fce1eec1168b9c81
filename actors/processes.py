"""Processes on Linux: ending with the parent, waiting without polling, finding and killing what is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc: a process, its parent, its session, whether it only waits to be reaped, or for SIGCONT."""

    pid: int
    parent: int
    session: int
    zombie: bool
    stopped: bool = False


def set_subreaper() -> None:
    """Make this process the new parent of orphans below it, so that none of them can get out of sight."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(*, spare: Sequence[int]) -> None:
    """Let go of the dead processes that have become ours, until there is one that others look for."""
    with contextlib.suppress(ChildProcessError):  # we have no child
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid not in spare:
            os.waitpid(dead.si_pid, os.WNOHANG)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; exits now if it has ended already.

    `parent_pid` is what the parent's own `os.getpid()` said before the fork. Not inherited by children.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def release_inherited_sockets(*, spare: Sequence[int] = ()) -> None:
    """Let go of every socket that came with the fork, except those spared; call it before opening own ones.

    The numbers stay occupied by /dev/null: objects of the parent's Python code that are still in memory may close
    them later, and must not hit a new file that happens to have the same number.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in spare and _is_socket(fd):
            os.dup2(null, fd, inheritable=False)
    os.close(null)


def redirect_standard_files(path: Path, *, keep_stdout: bool) -> None:
    """Point stdin to /dev/null and stderr (and stdout, unless kept) to the end of a file with mode 0600."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 2)
    if not keep_stdout:
        os.dup2(log, 1)
    os.close(null)
    os.close(log)


def exited(pidfds: Iterable[int], *, timeout_s: float | None) -> list[int]:
    """Those of the pidfds whose process has ended, as soon as there is one; none after the timeout (None: no end)."""
    poller = select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    return [fd for fd, _ in poller.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)]


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal and does not run before SIGCONT."""
    found = _read_stat(pid)
    return found is not None and found.stopped


def processes() -> list[Process]:
    """Every process that /proc shows."""
    found = (_read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def children(pid: int) -> list[int]:
    """Pids of the living children of a process."""
    return [p.pid for p in processes() if p.parent == pid and not p.zombie]


def tree(session: int) -> list[Process]:
    """The processes of a session and everything below them, zombies too.

    The admin process leads a session of its own, so this finds its descendants also after their parents have died.
    """
    everything = processes()
    pids = {p.pid for p in everything if p.session == session or p.pid == session}
    while more := {p.pid for p in everything if p.parent in pids} - pids:
        pids |= more
    return [p for p in everything if p.pid in pids]


def signal_tree(session: int, signum: int, *, spare: Sequence[int] = ()) -> None:
    """Send a signal to every living process of `tree(session)` except those spared."""
    for process in tree(session):
        if not process.zombie and process.pid not in spare:
            _send(process, signum)


def wait_for_tree(session: int, *, timeout_s: float) -> bool:
    """Reap what is ours to reap, and wait until nothing of the tree is left; False when something is."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = tree(session)
        for process in left:
            if process.zombie and process.parent == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
        if not left:
            return True
        if time.monotonic() >= deadline:
            return all(process.zombie for process in left)
        time.sleep(_POLL_S)


def _send(process: Process, signum: int) -> None:
    """Signal a process unless its pid has been given to another one since it was listed."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(process.pid)
        try:
            now = _read_stat(process.pid)
            if now is not None and now.session == process.session:
                signal.pidfd_send_signal(pidfd, signum)
        finally:
            os.close(pidfd)


def _read_stat(pid: int) -> Process | None:
    """One process from /proc/PID/stat (proc(5)); the name in brackets may itself hold brackets and spaces."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, parent, _group, session = text.rpartition(")")[2].split()[:4]
    return Process(pid, int(parent), int(session), state in "ZX", state == "T")


def _is_socket(fd: int) -> bool:
    """True for an open socket; the directory's own descriptor is gone by the time it is looked at."""
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def _prctl(option: int, value: int) -> None:
    """prctl(2), which the standard library does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

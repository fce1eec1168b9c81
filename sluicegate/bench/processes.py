"""Processes that the benchmark starts, speaks to in lines of JSON, and ends, whatever happens."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from sluicegate.bench.errors import BenchError
from sluicegate.bench.measure import started, tree

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

ORPHAN_GRACE_S = 1.0
"""Time for processes that end with their parent to notice that it has gone."""


def spawn(command: Sequence[str], *, output: int | IO[bytes], piped_input: bool = True) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that gets SIGTERM when this one dies.

    Its own session keeps Ctrl-C from reaching it, so that it is ended in order.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if piped_input else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if not piped_input else None,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """End a process and all that it started; returns how many of them outlived it and had to be killed.

    SIGTERM first; SIGKILL after `grace_s`. A process is known by its start time too, as pids are used again.
    """
    members = {pid: started(pid) for pid in tree(process.pid)}
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    left = _wait_gone(members, ORPHAN_GRACE_S)
    killed = sum(_kill(pid) for pid in left)
    _wait_gone(members, ORPHAN_GRACE_S)
    return killed


class Helper:
    """One of the benchmark's own programs (`python -m sluicegate.bench.NAME`), asked and answering in lines of JSON."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._name = name
        command = [sys.executable, "-m", f"sluicegate.bench.{name}", *arguments]
        self._process = spawn(command, output=subprocess.PIPE)
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, message: object, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        self.tell(message)
        return self.answer(timeout_s=timeout_s)

    def tell(self, message: object) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BenchError(f"{self._name} has ended with {self._process.wait()}") from error

    def answer(self, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The next line that it writes; raises `BenchError` when it reports an error, ends, or takes too long."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise BenchError(f"{self._name} did not answer within {timeout_s:.0f} s")
                data = os.read(self._process.stdout.fileno(), 65_536)
                if not data:
                    raise BenchError(f"{self._name} has ended with {self._process.wait()}")
                self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = msgspec.json.decode(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer

    def stop(self) -> None:
        """End it."""
        end(self._process, grace_s=2.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_gone(members: dict[int, int | None], timeout_s: float) -> list[int]:
    """Wait until none of them is alive; returns those that are after all."""
    deadline = time.monotonic() + timeout_s
    while (left := _alive(members)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _alive(members: dict[int, int | None]) -> list[int]:
    return [pid for pid, start in members.items() if start is not None and started(pid) == start]


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True

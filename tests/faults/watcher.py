"""Watches a system from outside during the whole of a scenario: accounts at 10 Hz, processes at 2 Hz."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sluicegate.client import Client
from sluicegate.errors import NotRunning, Refused
from sluicegate.messages.status import DestinationStatus
from tests.faults.books import Books, Counts, Sighting
from tests.faults.signals import Part, below

POLL_S = 0.1
LOOK_S = 0.5
ASK_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watcher:
    """A thread that asks for the status and looks at /proc; `problems` is what must never be."""

    def __init__(self, data_dir: Path, launcher: Callable[[], int]) -> None:
        self.problems: list[str] = []
        self.latest: dict[str, DestinationStatus] = {}
        self.books = Books("status")
        self.said: set[str] = set()
        """Errors and reasons of statuses, and command lines of processes."""
        self.answers: list[tuple[float, float]] = []
        """When the status was asked for, in monotonic time, and how long the answer took."""
        self.seen: dict[tuple[int, int], Part] = {}
        self.fds_at_rest = 0
        self.max_rss_bytes = self.max_fds = self.max_processes = self.max_destinations = 0
        self._epochs: dict[str, int] = {}
        self._data_dir = data_dir
        self._launcher = launcher
        self._client: Client | None = None
        self._ended = threading.Event()
        self._looked_at = 0.0
        self._answered_at = 0.0
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def statuses_after(self, moment: float) -> dict[str, DestinationStatus] | None:
        """The newest status if it was asked for after this monotonic time."""
        return self.latest if self._answered_at > moment else None

    def rest(self, parts: list[Part]) -> None:
        """Stop watching, with a last look at the processes while nothing happens."""
        self.close()
        self.seen |= {(part.pid, part.started): part for part in parts}
        self.fds_at_rest = max((_n_fds(part.pid) for part in parts), default=0)

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            self._poll()
            if time.monotonic() >= self._looked_at + LOOK_S:
                self._looked_at = time.monotonic()
                self._look()
        self._let_go()

    def _poll(self) -> None:
        began, asked_at = time.monotonic(), time.time()
        try:
            self._client = self._client or Client(self._data_dir, source="watcher", timeout_s=ASK_S)
            found = {one.id: one for one in self._client.status()}
        except (NotRunning, Refused, OSError):  # what is down answers nothing; for how long is judged later
            self._let_go()
            return
        self.answers.append((began, time.monotonic() - began))
        self.books.enter(Sighting(asked_at, time.time(), {id_: Counts.of(one) for id_, one in found.items()}))
        for one in found.values():
            self._check(one)
        self.latest, self._answered_at = found, began

    def _check(self, now: DestinationStatus) -> None:
        self.said |= {text for text in (now.error, now.reason) if text}
        if now.loaded:  # an epoch that no process has claimed may be given again after a restart
            newest = self._epochs.get(now.id, 0)
            if now.epoch < newest:
                self.problems.append(f"I9: epoch of {now.id} fell from {newest} to {now.epoch}")
            self._epochs[now.id] = max(newest, now.epoch)

    def _look(self) -> None:
        parts = below(self._launcher())
        self.said |= {_command_line(part.pid) for part in parts if (part.pid, part.started) not in self.seen}
        self.seen |= {(part.pid, part.started): part for part in parts}
        self.max_processes = max(self.max_processes, len(parts))
        self.max_rss_bytes = max(self.max_rss_bytes, sum(_rss_bytes(part.pid) for part in parts))
        self.max_fds = max([self.max_fds, *(_n_fds(part.pid) for part in parts)])
        roles = Counter(part.role for part in parts if part.role.startswith("destination "))
        self.max_destinations = max(self.max_destinations, len(roles))
        for role in (role for role, n in roles.items() if n > 1):
            if len([part for part in parts if part.role == role and part.alive]) > 1:
                self.problems.append(f"I9: two live processes are the {role}")

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _n_fds(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0

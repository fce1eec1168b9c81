from __future__ import annotations

import json
import os
import signal
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from sluicegate.actors.processes import processes
from sluicegate.errors import SluicegateError
from tests.end_to_end.harness import ARCHIVE, CRM, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver

CONFIG = ARCHIVE + CRM


class Load:
    """Posts batches from a thread of its own; remembers the ids of those that were answered with 200."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[str] = []
        self._gateway = system.running.gateway
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            events = [track(n, consent={"measurement": True}, subject=f"s{n % 5}") for n in range(20)]
            try:
                self._system.post(events)
            except (OSError, HTTPException, AssertionError, SluicegateError):
                self._stop.wait(0.05)  # not acknowledged, so not owed
                continue
            self.acknowledged += [event["messageId"] for event in events]

    def finish(self, at_least: int) -> set[str]:
        """Stop once so many events more were acknowledged; all acknowledged ids."""
        self.wait(at_least)
        return self.cut()

    def wait(self, more: int) -> None:
        """Until so many events more were acknowledged."""
        goal = len(self.acknowledged) + more
        poll(f"{more} more events", lambda: len(self.acknowledged) >= goal)

    def cut(self) -> set[str]:
        """Stop now; all acknowledged ids."""
        self._stop.set()
        self._thread.join()
        return set(self.acknowledged)


def pid_of(system: System, part: str) -> int:
    """The process whose place in the tree is meant."""
    of = {p.pid: p for p in processes()}
    crm = system.status("crm").pid
    assert crm
    supervisor = of[crm].parent
    admin = of[supervisor].parent
    (gateway,) = [p.pid for p in of.values() if p.parent == system.pid and p.pid != admin]
    (router,) = [p.pid for p in of.values() if p.parent == admin and "router" in _title(p.pid)]
    return {"destination": crm, "supervisor": supervisor, "admin": admin, "gateway": gateway, "router": router}[part]


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def in_archive(system: System) -> list[str]:
    path = system.data_dir.root / "events.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(line)["messageId"] for line in lines if line.endswith(b"}")]


def all_delivered(system: System, receiver: Receiver, owed: set[str]) -> None:
    poll("all acknowledged events at the receiver", lambda: owed <= set(receiver.ids()))
    poll("all acknowledged events in the archive", lambda: owed <= set(in_archive(system)))
    system.until("crm", "settled", lambda s: s.pending == 0)
    system.until("archive", "settled", lambda s: s.pending == 0)


@pytest.mark.parametrize("part", ["destination", "supervisor", "router", "admin", "gateway"])
def test_killed_part_comes_back_and_nothing_acknowledged_is_lost(
    system: MakeSystem, receiver: Receiver, part: str
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    victim = pid_of(running, part)

    os.kill(victim, signal.SIGKILL)
    owed = load.finish(at_least=200)

    all_delivered(running, receiver, owed)


def test_killed_tree_starts_again_and_nothing_acknowledged_is_lost(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    owed: set[str] = set()

    for _ in range(3):
        load = Load(running)
        load.wait(100)
        running.kill()
        owed |= load.cut()
        running.start()

    all_delivered(running, receiver, owed)


def test_backlog_is_delivered_after_a_restart(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    refuse: dict[str, Any] = {"status": 503}
    receiver.answer = lambda body: (refuse["status"], {})
    events = [track(n, consent={"measurement": True}) for n in range(50)]
    running.post(events)
    running.until("crm", "failing", lambda s: s.error is not None)

    stopped = running.stop()
    refuse["status"] = 200
    running.start()
    running.until_delivered("crm", 50)

    assert stopped == 0
    assert set(receiver.ids()) == {event["messageId"] for event in events}


@pytest.mark.parametrize("part", [[0, 1, 1], [0]], ids=["a part of it is new", "nothing of it is new"])
def test_it_starts_again_after_a_batch_of_which_a_part_was_there_before(system: MakeSystem, part: list[int]) -> None:
    running = system(ARCHIVE).start()
    events = [track(number) for number in range(2)]
    running.post(events[:1])
    running.post([events[number] for number in part])
    running.until_delivered("archive", len(set(part)))
    running.kill()

    running.start()
    running.post([track(2)])

    running.until_delivered("archive", len(set(part)) + 1)


def test_sigterm_ends_every_process_and_keeps_every_event(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([track(consent={"measurement": True}) for _ in range(100)])
    running.until_delivered("crm", 100)
    below = {p.pid for p in processes() if p.session == running.pid or p.pid == running.pid}
    below |= {pid_of(running, part) for part in ("destination", "supervisor", "admin")}

    code = running.stop()

    assert code == 0
    assert not below & {p.pid for p in processes()}
    assert len(receiver.ids()) == 100


def test_second_system_on_the_same_directory_is_refused(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()

    second = running.admin("serve")

    assert second.returncode == 1
    assert str(running.pid) in second.stderr
    assert running.status("crm").state == "registered"

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.delivery.store import DestinationStore
from tests.end_to_end.harness import CRM, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_explain import explained

YES = {"measurement": True}
N_OTHERS = 300
SAME_SLOTS = {"PYTHONHASHSEED": "1"}
"""Subjects share places by their hash: whoever shares that of the failing event waits for it."""


class Moody(Receiver):
    """Answers 500 to each call with a certain event, as long as `sick` is set."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.sick = True
        self.n_failed = 0
        self._id = message_id
        self.answer = self._answer

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        if self.sick and any(event["messageId"] == self._id for event in body["batch"]):
            self.n_failed += 1
            return 500, {}
        return 200, {}


def kill_destination(running: System) -> None:
    pid = running.status("crm").pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    running.until("crm", "started again", lambda s: s.pid not in (None, pid))


def kill_everything(running: System) -> None:
    running.kill()
    running.start()


def stop_everything(running: System) -> None:
    assert running.stop() == 0
    running.start()


def unload(running: System) -> None:
    pid = running.status("crm").pid
    assert running.admin("unload", "crm").returncode == 0
    running.until("crm", "started again", lambda s: s.pid not in (None, pid))


def settled_to(running: System) -> int:
    store = DestinationStore.open(running.data_dir.store("crm"), start=0)
    try:
        return store.state.settled_to
    finally:
        store.close()


@pytest.mark.parametrize("restart", [kill_destination, kill_everything, stop_everything, unload])
def test_one_event_that_fails_makes_no_restart_deliver_the_others_again(
    system: MakeSystem, restart: Callable[[System], None]
) -> None:
    sick = track(0, consent=YES, subject="sick")
    others = [track(n, consent=YES, subject=f"s{n % 5}") for n in range(1, N_OTHERS + 1)]
    receiver = Moody(sick["messageId"])
    running = system(CRM.format(url=receiver.url), environ=SAME_SLOTS).start()
    running.post([sick])
    poll("the event to fail", lambda: receiver.n_failed)
    for at in range(0, N_OTHERS, 50):
        running.post(others[at : at + 50])
    poll("what came after it to be committed", lambda: settled_to(running) == N_OTHERS + 1)
    waiting = running.status("crm")
    told = explained(running, others[-1], "crm")

    for _ in range(2):
        receiver.n_failed = 0
        restart(running)
        poll("the event to fail again", lambda: receiver.n_failed)
    later = track(0, consent=YES, subject="s1")
    running.post([later])
    poll("a later event to go past it", lambda: later["messageId"] in receiver.ids())
    receiver.sick = False
    running.until_delivered("crm", N_OTHERS + 2)

    times = Counter(receiver.ids())
    assert times == Counter({event["messageId"]: 1 for event in [sick, later, *others]})
    assert (waiting.pending, waiting.delivered) == (N_OTHERS + 1, 0)
    assert (told["outcome"], told["decision"]) == ("delivered", "delivered")
    assert "it counts as pending until the events before it have ended" in told["why"]
    receiver.close()

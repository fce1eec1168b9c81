from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.delivery.deciding import wait_until_seen
from tests.end_to_end.harness import ARCHIVE, CRM, WRITE_KEY, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver

CONFIG = (
    ARCHIVE
    + CRM
    + """
batch_size = 20
in_flight = 1
"""
)
YES = {"measurement": True}


@pytest.fixture
def held(receiver: Receiver) -> Iterator[Held]:
    held = Held()
    receiver.answer = held
    yield held
    held.release.set()


class Held:
    """Answers calls only once it is released; remembers what was begun."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun: list[list[str]] = []

    def __call__(self, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        self.begun.append([event["messageId"] for event in body["batch"]])
        self.release.wait(30)
        return 200, {}


def tell(running: System, subject: str, **preferences: bool) -> dict[str, Any]:
    body = json.dumps({"anonymousId": subject, "preferences": preferences, "writeKey": WRITE_KEY}).encode()
    status, answer = running.request("POST", "/v1/consent", body)
    assert status == 200, answer
    told: dict[str, Any] = json.loads(answer)
    return told


def test_statement_29_after_the_answer_no_call_begins_with_what_was_withdrawn(
    system: MakeSystem, receiver: Receiver, held: Held
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    anne = [track(number, consent=YES, subject="anne") for number in range(300)]
    ben = [track(number, consent=YES, subject="ben") for number in range(100)]
    running.post(anne[:1])
    poll("a call to have begun", lambda: held.begun)
    running.post(anne[1:])
    running.post(ben)

    told = tell(running, "anne", measurement=False)
    begun = [list(ids) for ids in held.begun]
    held.release.set()
    running.until("crm", "done", lambda one: one.pending == 0)

    assert told["stopped"] == {"crm": 299}
    assert told["inFlight"]["crm"] == 1  # the archive may be at it too
    assert begun == [[anne[0]["messageId"]]]
    assert receiver.ids() == [anne[0]["messageId"], *(event["messageId"] for event in ben)]
    status = running.until_delivered("crm", 101)
    assert status.denied_by == {"withdrawn": 299}


def test_statement_31_a_withdrawal_that_was_answered_survives_kill_9(
    system: MakeSystem, receiver: Receiver, held: Held
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    events = [track(number, consent=YES, subject="anne" if number % 2 else "ben") for number in range(200)]
    running.post(events)
    poll("a call to have begun", lambda: held.begun)
    tell(running, "anne", measurement=False)
    running.kill()
    poll("its processes to be gone", lambda: not wait_until_seen(running.data_dir.stores).loaded)
    begun = list(held.begun)

    receiver.answer = lambda body: (200, {})
    running.start()
    running.until("crm", "done", lambda one: one.pending == 0)

    bens = [event["messageId"] for event in events if event["anonymousId"] == "ben"]
    assert len(begun) == 1
    assert receiver.ids() == bens
    status = running.status("crm")
    assert (status.delivered, status.denied_by) == (100, {"withdrawn": 100})


def test_statement_37_one_subjects_withdrawal_stops_nobody_elses_events(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([track(1, consent=YES, subject="ben")])
    running.until_delivered("crm", 1)
    epoch = running.status("crm").epoch

    tell(running, "anne", measurement=False)
    running.post([track(2, consent=YES, subject="anne"), track(3, consent=YES, subject="ben")])

    status = running.until_delivered("crm", 2)
    assert (status.epoch, status.denied_by) == (epoch, {"consent_denied": 1})


def test_a_grant_in_the_ledger_lets_silent_events_out_and_wakes_the_destination(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    tell(running, "anne", measurement=True)

    running.post([track(1, subject="anne"), track(2, subject="ben")])

    status = running.until_delivered("crm", 1)
    assert (status.denied_by, status.held) == ({}, 1)

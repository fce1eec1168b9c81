"""A destination's process that dies during a call (F05), and an event that it dies of."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import plugins
from tests.end_to_end.harness import System, poll, track
from tests.end_to_end.receiver import Receiver

QUICK = '[supervisor]\nretry_delay = "20ms"\nmax_retries = 20\n'
YES = {"measurement": True}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., System]]:
    systems = []

    def start(destinations: str, **options: Any) -> System:
        systems.append(System(tmp_path, QUICK + destinations, **options).start())
        return systems[-1]

    yield start
    for system in systems:
        system.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_f05_killed_after_the_vendor_took_a_batch_the_same_batch_comes_again_with_the_same_key(
    start: Callable[..., System], receiver: Receiver
) -> None:
    running = start(f'[destinations.crm]\ntype = "webhook"\nrequires = ["measurement"]\nurl = "{receiver.url}"\n')
    running.post([track(consent=YES)])
    victim = running.until("crm", "loaded", lambda s: s.delivered == 1).pid
    assert victim
    bodies: list[list[str]] = []

    def kill_once(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        if not bodies:
            running.post([track(n, consent=YES, subject=f"later {n}") for n in range(40)])
            os.kill(victim, signal.SIGKILL)
        bodies.append([event["messageId"] for event in body["batch"]])
        return 200, {}

    receiver.answer = kill_once
    running.post([track(n, consent=YES, subject=f"s{n % 7}") for n in range(30)])
    settled = running.until_delivered("crm", 71)

    keys = [headers["Idempotency-Key"] for headers in receiver.headers[1:]]
    assert bodies[0] == bodies[1] and len(bodies[0]) == 30
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1
    assert settled.dead == 0


def test_event_that_kills_the_process_is_a_dead_letter_and_all_others_are_delivered(
    start: Callable[..., System], tmp_path: Path
) -> None:
    running = start('[destinations.deadly]\nrequires = ["measurement"]\n', environ=plugins.install(tmp_path))
    events = [track(n, consent=YES, subject=f"s{n % 9}") for n in range(200)]
    ids = [event["messageId"] for event in events]

    running.post(events)
    running.until("deadly", "done", lambda s: s.pending == 0)
    shown = json.loads(running.admin("dead-letters", "show", "deadly", "1").stdout)

    delivered = (running.data_dir.root / "delivered").read_text().split()
    calls = [json.loads(line) for line in (running.data_dir.root / "attempted").read_text().splitlines()]
    deaths = [call for call in calls if ids[77] in call]
    status = running.status("deadly")
    assert sorted(delivered) == sorted(ids[:77] + ids[78:])
    assert (status.delivered, status.dead) == (199, 1)
    assert [len(call) for call in deaths][-2:] == [1, 1] and len(deaths) <= 4
    assert shown["messageId"] == ids[77]
    assert shown["stage"] == "crashed" and "died twice" in shown["reason"]
    assert shown["event"]["properties"]["number"] == 77


def test_released_event_that_kills_the_process_is_a_dead_letter_and_all_others_are_delivered(
    start: Callable[..., System], tmp_path: Path
) -> None:
    running = start('[destinations.deadly]\nrequires = ["measurement"]\n', environ=plugins.install(tmp_path))
    events = [track(n, subject="anne") for n in range(70, 85)]
    ids = [event["messageId"] for event in events]
    running.post(events)
    running.until("deadly", "holding them", lambda s: s.held == 15)

    running.client.set_consent({"measurement": True}, anonymous_id="anne")
    status = running.until("deadly", "done", lambda s: s.held == 0)

    delivered = (running.data_dir.root / "delivered").read_text().split()
    calls = [json.loads(line) for line in (running.data_dir.root / "attempted").read_text().splitlines()]
    deaths = [call for call in calls if ids[7] in call]
    shown = json.loads(running.admin("dead-letters", "show", "deadly", "1").stdout)
    assert delivered == ids[:7] + ids[8:]
    assert (status.delivered, status.dead) == (14, 1)
    assert [len(call) for call in deaths] == [15, 1]
    assert (shown["messageId"], shown["stage"]) == (ids[7], "crashed")


def test_f33_pause_by_the_vendor_ends_when_the_system_starts_with_another_configuration(
    start: Callable[..., System], receiver: Receiver
) -> None:
    receiver.answer = lambda body: (401, {})
    config = f'[destinations.crm]\ntype = "webhook"\nrequires = ["measurement"]\nurl = "{receiver.url}"\n'
    running = start(config)
    running.post([track(n, consent=YES) for n in range(10)])
    paused = running.until("crm", "paused", lambda s: s.state == "paused")
    running.stop()
    receiver.answer = lambda body: (200, {})
    running.start()
    still = running.status("crm")
    running.stop()

    running.config_path.write_text(running.config_path.read_text() + 'headers = { X-Key = "the right one" }\n')
    running.start()
    delivered = running.until_delivered("crm", 10)

    assert "credentials: " in (paused.reason or "")
    assert (still.state, still.pending) == ("paused", 10)
    assert delivered.dead == 0


def test_open_breaker_shows_in_status_and_metrics(start: Callable[..., System], receiver: Receiver) -> None:
    receiver.answer = lambda body: (503, {})
    config = f'[destinations.crm]\ntype = "webhook"\nrequires = ["measurement"]\nurl = "{receiver.url}"\n'
    running = start(config + "batch_size = 2\n")
    running.post([track(n, consent=YES, subject=f"s{n}") for n in range(100)])

    status = running.until("crm", "given a rest", lambda s: s.breaker == "open")

    metrics = poll(
        "the breaker in the metrics",
        lambda: [line for line in running.request("GET", "/metrics")[1].decode().splitlines() if "breaker{" in line],
    )
    assert "circuit breaker open until" in (status.reason or "")
    assert (status.state, status.dead, status.pending) == ("loaded", 0, 100)
    assert metrics == ['sluicegate_destination_breaker{destination="crm",state="open"} 1.0']

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import Config, LogConfig
from tests.gateway.harness import Client, RunningGateway, batch, make_config, request, track

HOUR_S = 3_600.0
N_CLIENTS = 25
N_EACH = 40


class Clock:
    """Unix time as the test says."""

    def __init__(self) -> None:
        self.now = 1_795_453_200.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path, log=LogConfig(min_free_bytes=0, min_free_percent=0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(config: Config, clock: Clock) -> Iterator[RunningGateway]:
    running = RunningGateway(config, clock=clock)
    yield running
    running.close()


def answers(running: RunningGateway, body: object, *, path: str = "/v1/track", n_each: int = 1) -> list[Any]:
    """What many connections at once are answered to the same request, sent so often by each."""
    clients = [running.client() for _ in range(N_CLIENTS)]
    for client in clients:
        client.send(request(path, body) * n_each)
    found = [client.answer() for client in clients for _ in range(n_each)]
    for client in clients:
        client.close()
    return [(answer.status, answer.json["accepted"]) for answer in found]


def metric(running: RunningGateway, name: str) -> float:
    client = running.client()
    text = client.get("/metrics").body.decode()
    client.close()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def test_same_event_a_thousand_times_at_once_is_stored_once_and_always_answered_200(gateway: RunningGateway) -> None:
    found = answers(gateway, track("same"), n_each=N_EACH)

    assert found == [(200, 1)] * 1_000
    assert [event["messageId"] for event in gateway.stored()] == ["same"]
    assert metric(gateway, "sluicegate_events_duplicate_total") == 999
    assert metric(gateway, "sluicegate_events_accepted_total") == 1


def test_batches_that_overlap_are_stored_without_what_was_there(gateway: RunningGateway) -> None:
    found = answers(gateway, batch("a", "b", "a", "c"), path="/v1/batch")
    found += answers(gateway, batch("c", "d", "b"), path="/v1/batch")

    assert found == [(200, 4)] * N_CLIENTS + [(200, 3)] * N_CLIENTS
    assert [event["messageId"] for event in gateway.stored()] == ["a", "b", "c", "d"]


def test_duplicate_after_a_restart_is_still_one(config: Config, clock: Clock) -> None:
    for _ in range(3):
        running = RunningGateway(config, clock=clock)
        found = answers(running, track("same"))
        stored = running.stored()
        running.close()
        clock.now += 7 * HOUR_S

        assert found == [(200, 1)] * N_CLIENTS
        assert len(stored) == 1


def test_event_is_accepted_again_after_the_window(gateway: RunningGateway, clock: Clock) -> None:
    answers(gateway, track("same"))
    clock.now += 24 * HOUR_S - 1
    answers(gateway, track("same"))
    within = len(gateway.stored())

    clock.now += 2
    answers(gateway, track("same"))

    assert (within, len(gateway.stored())) == (1, 2)


def test_every_event_is_stored_when_deduplication_is_off(tmp_path: Path) -> None:
    running = RunningGateway(make_config(tmp_path, log=LogConfig(dedup_window_s=0)))

    answers(running, track("same"))

    assert len(running.stored()) == N_CLIENTS
    assert metric(running, "sluicegate_dedup_window_seconds") == 0
    running.close()


def test_events_that_come_without_an_id_are_different_events(gateway: RunningGateway) -> None:
    event = {name: value for name, value in track().items() if name != "messageId"}

    answers(gateway, event)

    assert len(gateway.stored()) == N_CLIENTS


def test_same_id_from_two_sources_is_two_events(gateway: RunningGateway) -> None:
    client: Client = gateway.client()
    for key in ("web-key", "shop-key"):
        client.ask(request("/v1/track", track("same"), headers=f"X-Write-Key: {key}\r\n".encode()))
    client.close()

    assert len(gateway.stored()) == 2

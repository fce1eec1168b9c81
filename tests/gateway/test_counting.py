from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.event import Combo, EventBatch
from sluicegate.gateway.answer import accepted
from sluicegate.gateway.ingest import Waiting
from sluicegate.testing.batches import add_event
from tests.gateway.harness import PATIENCE_S, RunningGateway, batch, make_config


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with closing(RunningGateway(make_config(tmp_path, log=LogConfig()))) as gateway:
        yield gateway


def events(*message_ids: str) -> EventBatch:
    made = EventBatch()
    for message_id in message_ids:
        add_event(made, b"{}", message_id=message_id, combo=Combo("track", "web"))
    return made


def test_accepted_never_falls_while_the_thread_is_ahead_of_what_it_has_reported(gateway: RunningGateway) -> None:
    ingest, metrics, thread = gateway.server._ingest, gateway.server.metrics, gateway.server._writer._thread
    told: list[tuple[int, int]] = []
    commits = [events("a", "b", "c"), events("d"), events("a", "b", "c", "e"), events("d", "e")]
    committed = ingest.committed

    def note(done: Sequence[tuple[Waiting, int]], n_left_out: int) -> None:
        committed(done, n_left_out)
        told.append((metrics.accepted, metrics.duplicates))

    def commit_all() -> None:
        """In the loop, which hears of the commits afterwards only."""
        ingest.committed = note  # type: ignore[method-assign]
        deadline = time.monotonic() + PATIENCE_S
        for number, one in enumerate(commits, start=1):
            assert thread.submit(one, Waiting([], accepted(1), len(one), time.monotonic()))
            while thread.commit.n_commits < number and time.monotonic() < deadline:
                time.sleep(0.001)

    gateway.call(commit_all)
    gateway.call(lambda: None)

    assert told == [(3, 0), (4, 0), (5, 3), (5, 5)]


def test_events_that_come_again_are_counted_once_whoever_commits(gateway: RunningGateway) -> None:
    with closing(gateway.client()) as client:
        for number in range(40):
            assert client.post("/v1/batch", batch("again", f"m{number}")).status == 200

    metrics = gateway.server.metrics
    assert (metrics.accepted, metrics.duplicates) == (41, 39)

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.config.model import Config, LogConfig
from tests.gateway import process
from tests.gateway.harness import PATIENCE_S, Client, batch, make_config, request, stored_events
from tests.gateway.process import PROGRAM, GatewayProcess

DIES_BEFORE_THE_ANSWER = """
import os, signal
from sluicegate.gateway.ingest import Ingest
Ingest.committed = lambda self, done, n_left_out: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path, log=LogConfig(min_free_bytes=0, min_free_percent=0))


@pytest.fixture
def dying(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayProcess]:
    with monkeypatch.context() as patched:
        patched.setattr(process, "PROGRAM", DIES_BEFORE_THE_ANSWER + PROGRAM)
        gateway = GatewayProcess(config)
    yield gateway
    gateway.close()


def test_retry_after_a_kill_between_commit_and_answer_is_stored_once(dying: GatewayProcess, config: Config) -> None:
    client = Client(dying.address)
    client.send(request("/v1/batch", batch("a", "b")))
    died_of = dying.process.wait(PATIENCE_S)
    answered = not client.ended()
    client.close()
    stored_before = [event["messageId"] for event in stored_events(config)]

    again = GatewayProcess(config)
    retry = Client(again.address)
    answer = retry.post("/v1/batch", batch("a", "b"))
    retry.close()
    again.close()

    assert (died_of, answered) == (-signal.SIGKILL, False)
    assert stored_before == ["a", "b"]
    assert (answer.status, answer.json["accepted"]) == (200, 2)
    assert [event["messageId"] for event in stored_events(config)] == ["a", "b"]

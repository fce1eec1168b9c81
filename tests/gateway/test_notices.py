from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.consent.ledger import Ledger
from sluicegate.errors import LogUnavailable
from sluicegate.event import CONSENT_TYPE
from sluicegate.paths import DataDir
from tests.gateway.harness import Client, RunningGateway, make_config
from tests.gateway.test_commit import StubbornLog

REFUSAL = {"userId": "anne", "preferences": {"marketing": False}, "decidedAt": "2026-01-31T10:00:00Z"}


@pytest.fixture
def log() -> StubbornLog:
    log = StubbornLog()
    log.allowed.set()
    return log


@pytest.fixture
def gateway(tmp_path: Path, log: StubbornLog) -> Iterator[RunningGateway]:
    mirror = DestinationConfig("mirror", "file", Requirement(("necessary",)), receives_consent_events=True)
    config = replace(make_config(tmp_path), destinations={"mirror": mirror})
    with closing(RunningGateway(config, open_log=lambda: log)) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[Client]:
    client = gateway.client()
    yield client
    client.socket.close()


def version(gateway: RunningGateway) -> int:
    data_dir = DataDir(gateway.config.data_dir)
    ledger = Ledger(data_dir.consent, data_dir.consent_key, create=False)
    try:
        return ledger.version()
    finally:
        ledger.close()


def test_decision_is_answered_when_its_notice_is_stored(client: Client, log: StubbornLog) -> None:
    answer = client.post("/v1/consent", REFUSAL)

    (row,) = log.read(0, max_events=10, max_bytes=10**6)
    (event,) = (msgspec.json.decode(raw) for raw in log.events(row))
    assert (answer.status, answer.json["version"]) == (200, 1)
    assert [combo.type for combo in row.meta.combos] == [CONSENT_TYPE]
    assert event["context"] == {"consent": {"categoryPreferences": {"marketing": False}}}


def test_decision_whose_notice_cannot_be_stored_counts_and_is_to_be_sent_again(
    gateway: RunningGateway, client: Client, log: StubbornLog
) -> None:
    log.error = LogUnavailable("the disk is full")
    untold = client.post("/v1/consent", REFUSAL)
    n_stored, n_recorded = log.head(), version(gateway)

    log.error = None
    told = client.post("/v1/consent", REFUSAL)

    assert (untold.status, untold.json["untold"], untold.json["version"]) == (202, ["mirror"], 1)
    assert untold.json["stopped"] == {}
    assert (n_stored, n_recorded) == (0, 1)
    assert (told.status, "untold" in told.json, told.json["version"]) == (200, False, 1)
    assert log.head() == 1


def test_nothing_is_told_where_nothing_was_decided(client: Client, log: StubbornLog) -> None:
    answer = client.post("/v1/consent", {"userId": "anne", "preferences": {"necessary": False}})

    assert (answer.status, log.head()) == (200, 0)

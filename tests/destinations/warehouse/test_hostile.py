from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.destinations.base import Destination
from sluicegate.destinations.bigquery import BigQuery
from sluicegate.testing.destination_contract import make_destination
from tests.destinations.warehouse.clickhouse_peer import ClickHousePeer
from tests.destinations.warehouse.hostile import EVENTS, deliver
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.bigquery_server import BigQueryServer


@dataclass(frozen=True)
class Engine:
    destination: Destination
    ids: Callable[[str], Sequence[str]]


@pytest.fixture(scope="module", params=["postgres", "clickhouse", "bigquery"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("data")
    peer: Any
    if request.param == "bigquery":
        peer = BigQueryServer()
        request.addfinalizer(peer.close)
        login: dict[str, Any] = {"project": "project-1", "endpoint": peer.url, "credentials": peer.key}
        made = make_destination(BigQuery, folder, **login)
        found = Engine(made, lambda table: [row["id"] for row in peer.rows.get(table, [])])
    else:
        is_postgres = request.param == "postgres"
        server = request.getfixturevalue("cluster" if is_postgres else "clickhouse")
        peer = (PostgresPeer if is_postgres else ClickHousePeer)(server)
        made = peer.make(folder)
        found = Engine(made, peer.ids)
    made.initialize()
    yield found
    made.destroy()


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(events=st.lists(EVENTS, min_size=1, max_size=6))
def test_every_event_is_stored_or_rejected_by_itself(engine: Engine, events: list[dict[str, Any]]) -> None:
    wanted, rejected = deliver(engine.destination, events)

    for table, ids in wanted.items():
        stored = engine.ids(table)
        assert stored[len(stored) - len(ids) :] == ids
        assert not rejected & set(stored)

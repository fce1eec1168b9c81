from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.destinations.warehouse.clickhouse_peer import ClickHouseServer
from tests.doubles.postgres_cluster import PostgresCluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresCluster]:
    yield from running_cluster()


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    if find_spec("chdb") is None:
        pytest.skip("ClickHouse's engine is not installed; pip install sluicegate[peers]")
    running = ClickHouseServer()
    yield running
    running.close()

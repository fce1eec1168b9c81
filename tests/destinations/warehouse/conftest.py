from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.destinations.warehouse.clickhouse_peer import ClickHouseServer
from tests.doubles.postgres_cluster import PostgresCluster, find_binaries


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresCluster]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; scripts/peers installs it on Debian")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = PostgresCluster(binaries, port)
    yield running
    running.close()


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    if find_spec("chdb") is None:
        pytest.skip("ClickHouse's engine is not installed; pip install sluicegate[peers]")
    running = ClickHouseServer()
    yield running
    running.close()

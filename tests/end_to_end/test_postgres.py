from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.postgres_cluster import PostgresCluster, running_cluster
from tests.end_to_end.harness import System, track

DESTINATIONS = """
[destinations.warehouse]
type = "postgres"
requires = ["measurement"]
test_on_load = true
host = "127.0.0.1"
port = {port}
dbname = "postgres"
user = "{user}"
password = "${{PG_PASSWORD}}"
schema = "{user}"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    yield from running_cluster()


def test_events_are_in_the_database_and_its_driver_in_one_process(
    cluster: PostgresCluster, system: Callable[..., System]
) -> None:
    peer = PostgresPeer(cluster)
    text = DESTINATIONS.format(port=cluster.port, user=peer.name)
    running = system(text, environ={"PG_PASSWORD": peer.name}).start()
    wanted = [track(number, consent={"measurement": True}) for number in range(5)]

    running.post([*wanted, track(consent={"measurement": False}, subject="another")])
    warehouse = running.until_delivered("warehouse", 5)
    archive = running.until_delivered("archive", 6)

    ids = [event["messageId"] for event in wanted]
    assert sorted(peer.ids("tested")) == sorted(ids)
    assert "psycopg" in maps(warehouse.pid)
    assert "psycopg" not in maps(archive.pid) + maps(running.pid)


def maps(pid: int | None) -> str:
    return Path(f"/proc/{pid}/maps").read_text()

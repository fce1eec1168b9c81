from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.testing.destination_contract import DestinationContract, VendorAnswer
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.postgres_cluster import PostgresCluster


class TestPostgres(DestinationContract):
    @pytest.fixture(autouse=True)
    def peer(self, cluster: PostgresCluster) -> Iterator[None]:
        self.server = PostgresPeer(cluster)
        self.is_stopped = False
        yield
        if self.is_stopped:
            cluster.start()

    def make(self, tmp_path: Path) -> Destination:
        return self.server.make(tmp_path)

    def received(self) -> Sequence[str]:
        return self.server.ids()

    def script(self, answer: VendorAnswer) -> None:
        if answer == "busy":
            self.server.cluster.stop()
            self.is_stopped = True
        elif answer == "refused":
            self.server.run(f"ALTER SCHEMA {self.server.name} OWNER TO owner")
        else:
            self.server.run("CREATE TABLE tracks (id text PRIMARY KEY CHECK (id IS NULL))")
            self.server.run(f"ALTER TABLE tracks OWNER TO {self.server.name}")

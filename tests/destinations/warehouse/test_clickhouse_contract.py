from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.testing.destination_contract import DestinationContract, VendorAnswer
from tests.destinations.warehouse.clickhouse_peer import ClickHousePeer, ClickHouseServer


class TestClickHouse(DestinationContract):
    @pytest.fixture(autouse=True)
    def peer(self, clickhouse: ClickHouseServer) -> Iterator[None]:
        self.vendor = ClickHousePeer(clickhouse)
        yield
        clickhouse.answer("fine")

    def make(self, tmp_path: Path) -> Destination:
        return self.vendor.make(tmp_path)

    def received(self) -> Sequence[str]:
        return self.vendor.ids()

    def script(self, answer: VendorAnswer) -> None:
        if answer == "rejected":
            statement = f"CREATE TABLE {self.vendor.name}.tracks (id String, timestamp DateTime64(3, 'UTC'),"
            statement += " CONSTRAINT none CHECK id = '') ENGINE = ReplacingMergeTree ORDER BY id"
            self.vendor.server.ask(statement)
        else:
            self.vendor.server.answer(answer)

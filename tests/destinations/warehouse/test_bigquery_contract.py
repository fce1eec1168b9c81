from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.destinations.bigquery import BigQuery
from sluicegate.testing.destination_contract import DestinationContract, VendorAnswer, make_destination
from tests.doubles.bigquery_server import BigQueryServer


class TestBigQuery(DestinationContract):
    @pytest.fixture(autouse=True)
    def peer(self) -> Iterator[None]:
        self.vendor = BigQueryServer()
        yield
        self.vendor.close()

    def make(self, tmp_path: Path) -> Destination:
        settings: dict[str, Any] = {"project": "project-1", "endpoint": self.vendor.url, "credentials": self.vendor.key}
        return make_destination(BigQuery, tmp_path, **settings)

    def received(self) -> Sequence[str]:
        return [row["id"] for row in self.vendor.rows.get("tracks", [])]

    def script(self, answer: VendorAnswer) -> None:
        self.vendor.answer = answer

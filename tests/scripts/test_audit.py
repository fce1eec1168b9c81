from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.delivery.store import DestinationStore
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.scripts.admin import main


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    where = DataDir(tmp_path / "data")
    where.create()
    for opened in open_data(where):
        opened.close()
    DestinationStore.open(where.store("crm"), start=0).close()
    return where


@pytest.mark.parametrize("row", ["x", "9" * 20, "9" * 5_000])
def test_head_with_a_row_that_no_store_can_hold_is_wrong_usage(where: DataDir, row: str) -> None:
    told = CliRunner().invoke(
        main, ["audit", "verify", "--expect", f"crm:{row}:0123456789abcdef", "--data-dir", str(where.root)]
    )

    assert told.exit_code == 2, told.exception
    assert "is not DESTINATION:ROW:HASH" in told.stderr

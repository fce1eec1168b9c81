from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate import proof
from sluicegate.delivery.store import DestinationStore
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.scripts.admin import main
from tests.end_to_end.harness import ARCHIVE, MakeSystem, track


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


def test_head_to_be_noted_is_whole_on_a_narrow_terminal(system: MakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    running = system(ARCHIVE).start()
    running.post([track()])
    running.until_delivered("archive", 1)
    in_an_hour_ms = (time.time_ns() // 1_000_000) + 3_600_000
    monkeypatch.setattr(proof, "_now_ms", lambda: in_an_hour_ms)  # only a row that does not grow any more is a head
    monkeypatch.setenv("COLUMNS", "80")
    verify = ["audit", "verify", "--data-dir", str(running.data_dir.root)]

    text = CliRunner().invoke(main, verify).stdout
    (one,) = json.loads(CliRunner().invoke(main, [*verify, "--json"]).stdout)["destinations"]

    head = f"archive:1:{one['head_hash'][:16]}"
    assert f"head: {head}\n" in text
    assert CliRunner().invoke(main, [*verify, "--expect", head]).exit_code == 0

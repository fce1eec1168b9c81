"""`scripts/faults` itself: what it has found so far is kept, whatever becomes of the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.faults import scenario
from tests.faults.programs import ReceiverProgram
from tests.faults.record import Skip
from tests.faults.run import main
from tests.faults.scenario import Run
from tests.faults.signals import below


def fine(run: Run) -> None:
    raise Skip("nothing to do")


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "SCENARIOS", {"F01": ("the first", fine), "F02": ("the second", fine)})
    monkeypatch.setattr("tests.faults.run.SCENARIOS", scenario.SCENARIOS)


def records(path: Path) -> dict[str, dict[str, str]]:
    return {record["number"]: record for record in map(json.loads, path.read_text().splitlines())}


def test_run_that_cannot_begin_costs_neither_the_others_nor_the_report(
    two: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin = ReceiverProgram.__init__

    def fail(program: ReceiverProgram, journal: Path) -> None:
        if "F01" in journal.parts[-2] and journal.stem == "ads":
            raise OSError("no more processes")
        begin(program, journal)

    monkeypatch.setattr(ReceiverProgram, "__init__", fail)
    before = {part.pid for part in below(os.getpid())}

    code = main(["--seed", "1", "--json", str(tmp_path / "json"), "--report", str(tmp_path / "report.md")])

    found = records(tmp_path / "json")
    assert code == 1
    assert (found["F01"]["outcome"], found["F01"]["problem"]) == ("failed", "no more processes")
    assert found["F02"]["outcome"] == "skipped"
    assert "F01, seed 1: did not come to its end. no more processes" in (tmp_path / "report.md").read_text()
    assert {part.pid for part in below(os.getpid())} == before


def test_folder_of_an_earlier_run_costs_no_report_either(two: None, tmp_path: Path) -> None:
    (tmp_path / "keep" / "F01-1").mkdir(parents=True)

    code = main(["--seed", "1", "--keep", str(tmp_path / "keep"), "--json", str(tmp_path / "json")])

    found = records(tmp_path / "json")
    assert code == 1
    assert "FileExistsError" in found["F01"]["problem"]
    assert found["F02"]["outcome"] == "skipped"

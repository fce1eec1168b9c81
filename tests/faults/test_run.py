"""`scripts/faults` itself: what it has found so far is kept, whatever becomes of the rest."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.end_to_end.harness import poll
from tests.faults import catalogue, scenario  # noqa: F401  (registers the scenarios)
from tests.faults.ordinary import cases_of, index, tally
from tests.faults.programs import ROOT, ReceiverProgram
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


def test_run_that_takes_the_interpreter_for_seconds_keeps_no_other_from_looking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looking, held, over = (tmp_path / name for name in ("looking", "held", "over"))

    def hold(run: Run) -> None:
        poll("the other", looking.exists)
        held.touch()
        ctypes.PyDLL(None).usleep(1_000_000)  # without letting go of the interpreter's lock
        over.touch()
        raise Skip("nothing to do")

    def look(run: Run) -> None:
        looking.touch()
        poll("the hold", held.exists)
        n_looks = 0

        def see() -> bool:
            nonlocal n_looks
            n_looks += 1
            return over.exists()

        poll("its end", see)
        run.record.figures["looks"] = n_looks
        raise Skip("nothing to do")

    monkeypatch.setattr(scenario, "SCENARIOS", {"F01": ("holds", hold), "F02": ("looks", look)})
    monkeypatch.setattr("tests.faults.run.SCENARIOS", scenario.SCENARIOS)

    main(["--seed", "1", "--jobs", "2", "--json", str(tmp_path / "json")])

    assert json.loads((tmp_path / "json").read_text().splitlines()[1])["figures"]["looks"] > 10


def test_simulated_systems_are_in_the_report(two: None, tmp_path: Path) -> None:
    report = tmp_path / "report.md"

    code = main(["--jobs", "1", "--simulate", "3", "--simulate-from", "7", "--report", str(report)])

    assert code == 0
    text = " ".join(report.read_text().split())
    assert "**3 seeds from 7 on, 0 failed**" in text
    assert "settled within 60 s, not counting the time in which a circuit breaker is open" in text


def test_every_test_of_a_fault_counts_for_it_and_one_that_did_not_run_has_failed() -> None:
    (disk,) = (fault for fault in index() if fault.number == "F18")
    wanted = {"F18": set(cases_of(disk))}
    torn = "test_f18_torn_write_costs_the_event_that_was_not_acknowledged_at_most"
    properties = (
        '<properties><property name="acknowledged" value="1010"/><property name="lost" value="0"/></properties>'
    )
    case = f'<testcase classname="tests.faults.test_disk" time="2.5" name="{torn}[1]">%s</testcase>'
    cases = ET.fromstring(f"<suite>{case % properties}{case % '<failure/>'}</suite>").iter("testcase")

    found = tally(cases, wanted)["F18"]

    assert ("tests/faults/test_disk.py", torn) in wanted["F18"]
    assert not [name for path, name in wanted["F18"] if "test_disk" in path and not name.startswith("test_f18_")]
    assert (found.n_tests, found.acknowledged, found.lost, found.took_s) == (2, 1_010, 0, 5.0)
    assert found.n_failed == 1 + len(wanted["F18"]) - 1


def test_most_faults_have_tests_or_scenarios_that_the_report_shows() -> None:
    shown = {fault.number for fault in index() if list(cases_of(fault))} | {*scenario.SCENARIOS}

    assert {fault.number for fault in index()} == shown


def test_ended_early_it_ends_what_it_has_started(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.faults.run",
        "--only",
        "F10",
        "--seed",
        "1",
        "--keep",
        str(tmp_path / "keep"),
    ]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) as runner:
        try:
            poll("a destination", lambda: any(part.role.startswith("destination") for part in below(runner.pid)))
            parts = list(below(runner.pid))
        finally:
            runner.terminate()
        code = runner.wait(10)

    assert code == 128 + signal.SIGTERM
    poll("their end", lambda: not any(part.alive for part in parts))

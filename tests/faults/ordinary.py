"""The tests of docs/faults.md that are no scenarios: runs them, and adds up for each fault what they tried."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.programs import ROOT

INDEX = ROOT / "docs" / "faults.md"
IS_TEST = re.compile(r"tests/.*/test_\w+\.py")


@dataclass(slots=True)
class Fault:
    """One row of the index: what it is and where it is tried."""

    number: str
    what: str
    paths: list[str]


@dataclass(slots=True)
class Tally:
    """What the tests of a fault came to; events only where the tests say how many there were."""

    n_tests: int = 0
    n_failed: int = 0
    n_skipped: int = 0
    acknowledged: int = 0
    lost: int = 0
    took_s: float = 0.0


def index() -> list[Fault]:
    """The rows of the index."""
    table = INDEX.read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| (F\d\d) \| (.*?) \| (.*) \|$", table, flags=re.M)
    return [Fault(number, what, re.findall(r"`([^`]+)`", paths)) for number, what, paths in rows]


def cases_of(fault: Fault) -> Iterator[tuple[str, str]]:
    """The path and the name of each test function; of a file that names faults in its tests only those of this one."""
    for path in (path for path in fault.paths if IS_TEST.fullmatch(path)):
        names = [
            node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)
        ]
        tests = [name for name in names if name.startswith("test_")]
        own = [name for name in tests if name.startswith(f"test_{fault.number.lower()}_")]
        others = any(re.match(r"test_f\d\d_", name) for name in tests)
        yield from ((path, name) for name in (own if others else tests))


def run_tests(*, jobs: int, folder: Path) -> dict[str, Tally]:
    """Run all of them once; what they came to by fault."""
    wanted = {fault.number: set(cases_of(fault)) for fault in index()}
    paths = sorted({path for tests in wanted.values() for path, _ in tests})
    report = folder / "ordinary.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(jobs), f"--junitxml={report}", *paths]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    return tally(ET.parse(report).iter("testcase") if report.exists() else (), wanted)


def tally(cases: Iterable[ET.Element], wanted: Mapping[str, set[tuple[str, str]]]) -> dict[str, Tally]:
    """Add up pytest's test cases by the faults that they try; a fault whose tests did not run has failed."""
    by_test: dict[tuple[str, str], list[ET.Element]] = defaultdict(list)
    for case in cases:
        path = case.get("classname", "").replace(".", "/") + ".py"
        by_test[path, case.get("name", "").partition("[")[0]].append(case)
    return {number: _sum([by_test[test] for test in tests]) for number, tests in wanted.items() if tests}


def _sum(tests: Iterable[list[ET.Element]]) -> Tally:
    total = Tally()
    for cases in tests:
        total.n_failed += not cases
        for case in cases:
            total.n_tests += 1
            total.took_s += float(case.get("time", 0))
            total.n_failed += case.find("failure") is not None or case.find("error") is not None
            total.n_skipped += case.find("skipped") is not None
            told = {one.get("name"): int(one.get("value", 0)) for one in case.iterfind("properties/property")}
            total.acknowledged += told.get("acknowledged", 0)
            total.lost += told.get("lost", 0)
    return total

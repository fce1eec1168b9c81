from __future__ import annotations

import re

from tests.faults import catalogue  # noqa: F401  (registers the scenarios)
from tests.faults.programs import ROOT
from tests.faults.scenario import SCENARIOS

NOT_HERE = "F51"


def rows() -> dict[str, list[str]]:
    """By number the files that the page's first table names."""
    found = {}
    table = (ROOT / "docs" / "faults.md").read_text().partition("\n## ")[0]
    for line in table.splitlines():
        if match := re.match(r"\| (F\d\d) \|", line):
            found[match[1]] = re.findall(r"`([^`]+)`", line.split("|")[-2])
    return found


def test_every_fault_of_the_catalogue_is_tried_somewhere() -> None:
    expected = {f"F{number:02}" for number in range(1, 53)} - {NOT_HERE}

    assert set(rows()) == expected


def test_every_named_file_is_there() -> None:
    missing = [path for paths in rows().values() for path in paths if not (ROOT / path).is_file()]

    assert all(rows().values())
    assert missing == []


def test_every_scenario_is_in_the_row_of_its_number() -> None:
    found = rows()

    for number, (_, scenario) in SCENARIOS.items():
        assert f"{scenario.__module__.replace('.', '/')}.py" in found[number]

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sluicegate.destinations.warehouse.dialect import BIGQUERY, CLICKHOUSE, POSTGRES, Dialect
from sluicegate.destinations.warehouse.rows import Origin, Row, rows_of

CASES = Path(__file__).parents[3] / "shared" / "conformance"
DIALECTS = {dialect.name: dialect for dialect in (POSTGRES, CLICKHOUSE, BIGQUERY)}
ORIGIN = Origin(destination_id="d1", source_id="s1", request_ip="203.0.113.99")
"""What the cases were taken with."""

DEVIATIONS: dict[str, str] = {}
"""Cases by name that are right to differ, with the reason. Lists are JSON texts in both; the cases show them parsed."""


def load(engine: str) -> list[dict[str, Any]]:
    return [
        case for path in sorted((CASES / f"warehouse_{engine}").glob("*.json")) for case in json.loads(path.read_text())
    ]


def cases() -> list[Any]:
    found = [pytest.param(engine, case, id=case["id"]) for engine in DIALECTS for case in load(engine)]
    return found or [pytest.param("", {}, marks=pytest.mark.skip(reason="the conformance data is not here"))]


def as_shown(row: Row, dialect: Dialect, expected: Mapping[str, Any]) -> dict[str, Any]:
    data = {
        column: json.loads(str(value)) if isinstance(expected["data"].get(column), list) else value
        for column, value in row.data.items()
    }
    columns = {column: kind.value for column, kind in row.columns(dialect).items()}
    return {"table": row.table, "columns": columns, "data": data}


def shown_and_wanted(engine: str, case: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    dialect, event = DIALECTS[engine], case["event"]
    rows = rows_of(event, message_id=event["messageId"], dialect=dialect, origin=ORIGIN)
    wanted = case["expected"]["rows"]
    shown = [as_shown(row, dialect, expected) for row, expected in zip(rows, wanted, strict=True)]
    return shown, [{key: row[key] for key in ("table", "columns", "data")} for row in wanted]


def n_equal(engine: str) -> int:
    """How many cases of an engine come out equal."""
    return sum(shown == wanted for case in load(engine) for shown, wanted in [shown_and_wanted(engine, case)])


@pytest.mark.parametrize(("engine", "case"), cases())
def test_rows_are_those_of_the_warehouse_schema(engine: str, case: dict[str, Any]) -> None:
    shown, wanted = shown_and_wanted(engine, case)

    assert case["name"] in DEVIATIONS or shown == wanted


@pytest.mark.skipif(not CASES.exists(), reason="the conformance data is not here")
@pytest.mark.parametrize("engine", DIALECTS)
def test_score_is_shown(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    n_cases, equal = len(load(engine)), n_equal(engine)

    with capsys.disabled():
        print(f"\nconformance: {engine}: {equal} of {n_cases} cases equal")
    assert n_cases - equal == sum(case["name"] in DEVIATIONS for case in load(engine))

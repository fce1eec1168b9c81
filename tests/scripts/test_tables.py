from __future__ import annotations

import time

from rich.console import Console

from sluicegate.messages.status import DestinationStatus
from sluicegate.scripts.tables import detail_table


def shown(one: DestinationStatus) -> dict[str, str]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(detail_table(one))
    cells = [[cell.strip() for cell in line.split("│")] for line in capture.get().splitlines() if "│" in line]
    return {cell[1]: cell[2] for cell in cells}


def test_detail_shows_times_counts_and_answers_for_people() -> None:
    now_s = time.time()
    one = DestinationStatus(
        id="crm",
        type="webhook",
        state="backing_off",
        last_attempt=1_700_000_000.0,
        next_attempt_at=now_s + 3_600.5,
        loaded_at=now_s - 65,
        lag_seconds=1.23456,
        denied_by={"withdrawn": 2, "denied": 10},
        expired_by={},
        error="[red]not markup[/red]",
    )

    found = shown(one)

    assert found["last_attempt"].startswith("2023-11-14 22:13:20 UTC (") and found["last_attempt"].endswith(" d ago)")
    assert found["next_attempt_at"].endswith(" UTC (in 60 min)")
    assert found["loaded_at"].endswith(" UTC (65 s ago)")
    assert found["last_used"] == found["expired_by"] == ""
    assert (found["loaded"], found["lag_seconds"]) == ("no", "1.2")
    assert found["denied_by"] == "denied: 10, withdrawn: 2"
    assert found["error"] == "[red]not markup[/red]"

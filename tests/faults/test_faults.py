from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import catalogue  # noqa: F401  (registers the scenarios)
from tests.faults.scenario import SCENARIOS, run_scenario

SEED = int(os.environ.get("FAULTS_SEED", "1"))
"""Fixed, so that a failure is one of the change under test; `scripts/faults` draws others."""


@pytest.mark.parametrize("number", SCENARIOS)
def test_nothing_acknowledged_is_lost(number: str, tmp_path: Path) -> None:
    record = run_scenario(number, tmp_path, seed=SEED, long=False)

    if record.outcome == "skipped":
        pytest.skip(f"{number}: {'; '.join(record.skipped)}")
    assert record.lost == 0

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import main
from tests.simulation.mutations import capacity_is_one_too_many
from tests.simulation.runner import explain, explore, replay

ROOT = Path(__file__).parents[2]
SEEDS = (3, 14, 159)


def test_seed_replays_step_by_step() -> None:
    first = [replay(seed) for seed in SEEDS]

    again = [replay(seed) for seed in SEEDS]

    assert again == first
    assert all(lines for lines, _ in first)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_seed_is_the_same_run_in_a_process_with_other_string_hashes(hash_seed: str) -> None:
    def digests(environment: dict[str, str]) -> list[str]:
        command = [sys.executable, "-m", "tests.simulation", "--seed"]
        return [
            subprocess.run(
                [*command, str(seed)], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
            ).stdout
            for seed in SEEDS[:2]
        ]

    elsewhere = digests({**os.environ, "PYTHONHASHSEED": hash_seed})

    assert elsewhere == digests({**os.environ, "PYTHONHASHSEED": "0"})


def test_seeds_are_shared_between_processes() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "300", "--start", "1000", "--processes", "2"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (done.returncode, done.stdout.split(";")[0]) == (0, "300 seeds, 0 failed")


def test_failure_names_the_seed_and_shows_how_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with capacity_is_one_too_many():
        failures = explore(range(20)).failures
        text = explain(failures)
        status = main(["--seed", str(min(failures)), "--trace"])

    printed = capsys.readouterr().out
    assert status == 1
    assert f"seed {min(failures)}: Violation: " in text
    assert f"--seed {min(failures)} --trace" in text
    assert "supervisor: Spawn(" in printed

"""`scripts/audit` with a tool that answers as it is told: what it says and how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FINE = {"name": "click", "version": "8.0", "vulns": []}
BAD = {"name": "rich", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "msgspec", "skip_reason": "could not be asked"}

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").exists(), reason="not a checkout")


def run(folder: Path, *packages: Any, installs: bool = True, answers: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it in an environment whose programs are stand-ins; `packages` is what the tool reports."""
    report = folder / "answer.json"
    report.write_text(json.dumps({"dependencies": packages}))
    tool = f'for last; do :; done; cp {report} "$last"' if answers else "echo unreachable >&2; exit 1"
    program(folder / "bin" / "python", "exit 0")
    pip = "exit 0" if installs else "exit 1"
    program(folder / "audit" / "bin" / "python", f'[ "$1" = - ] || {pip}\nexec {sys.executable} "$@"')
    program(folder / "audit" / "bin" / "pip-audit", tool)
    stamp = folder / "installed--test-"
    stamp.touch()
    environ = {**os.environ, "VENV": str(folder), "EXTRAS": "[test]", "PYTHON": sys.executable}
    return subprocess.run([ROOT / "scripts" / "audit"], capture_output=True, text=True, env=environ, timeout=60)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_packages_without_vulnerabilities_are_fine(tmp_path: Path) -> None:
    done = run(tmp_path, FINE)

    assert (done.returncode, done.stdout) == (0, "audited 1 of 1 packages: 0 vulnerabilities\n")


def test_vulnerabilities_are_named(tmp_path: Path) -> None:
    done = run(tmp_path, FINE, BAD, UNKNOWN)

    assert done.returncode == 1
    assert "rich 1.0: PYSEC-1, fixed in ['1.1']" in done.stdout


@pytest.mark.parametrize(
    ("packages", "options", "said"),
    [
        ([FINE], {"installs": False}, "pip-audit cannot be installed"),
        ([FINE], {"answers": False}, "the advisories cannot be reached"),
        ([UNKNOWN], {}, "no advisories for any of 1 packages"),
        ([FINE, UNKNOWN], {}, "no advisories could be had for msgspec"),
    ],
)
def test_not_being_able_to_ask_is_no_success(
    tmp_path: Path, packages: list[Any], options: dict[str, bool], said: str
) -> None:
    done = run(tmp_path, *packages, **options)

    assert done.returncode == 3
    assert re.match("NOT AUDITED: ", done.stderr)
    assert said in done.stderr


def test_answer_of_an_earlier_run_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "report.json").write_text(json.dumps({"dependencies": [FINE]}))

    assert run(tmp_path, FINE, answers=False).returncode == 3

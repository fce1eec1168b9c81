from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("actors", "messages", "scripts")

needs_checkout = pytest.mark.skipif(
    not (ROOT / "sluicegate" / "actors").exists(), reason="not a git checkout: no links"
)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@needs_checkout
def test_every_package_is_listed_for_the_build() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())

    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("sluicegate/**/__init__.py")} | {
        f"sluicegate.{name}" for name in MAPPED
    }

    assert listed == found


@needs_checkout
@pytest.mark.parametrize("name", MAPPED)
def test_link_leads_to_the_mapped_folder(name: str) -> None:
    assert (ROOT / "sluicegate" / name).resolve() == ROOT / name


@pytest.mark.parametrize("name", MAPPED)
def test_bare_import_says_what_to_import_instead(name: str) -> None:
    tried = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, cwd=ROOT)

    assert f"import sluicegate.{name}" in tried.stderr


def test_top_level_has_what_was_agreed() -> None:
    assert all((ROOT / name).exists() for name in ("setup.cfg", "actors", "messages", "tests", "scripts", "README.md"))


def test_package_itself_imports_nothing_heavy() -> None:
    code = "import sluicegate, sys; print([m for m in ('thespian', 'apsw', 'rich', 'uvloop') if m in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"

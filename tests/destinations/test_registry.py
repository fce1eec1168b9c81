from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sluicegate.destinations.registry import load_type
from sluicegate.errors import NotInstalled, NotReady

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes the type `strange` from this source."""

    def write(source: str) -> None:
        info = tmp_path / "strange-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\nProvides-Extra: strange\n")
        (info / "entry_points.txt").write_text("[sluicegate.destinations]\nstrange = strange_module:Type\n")
        if source:
            (tmp_path / "strange_module.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "strange_module", raising=False)

    return write


READY_MADE = ("bigquery", "clickhouse", "console", "file", "kafka", "null", "objectstore", "postgres", "webhook")


@pytest.mark.parametrize("name", READY_MADE)
def test_ready_made_types_are_found(name: str) -> None:
    assert load_type(name).__name__.lower() == name
    assert entry_points(group="sluicegate.settings", name=name)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('no')", "cannot be imported from strange_module:Type: RuntimeError: no"),
        ("raise SystemExit(3)", "ends the process"),
    ],
)
def test_type_whose_import_fails_says_why(install: Install, source: str, text: str) -> None:
    install(source)

    with pytest.raises(NotReady, match=text) as raised:
        load_type("strange")

    assert not isinstance(raised.value, NotInstalled)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "import no_such_module",
            "needs the module no_such_module, which is not installed; pip install 'strange.strange.'",
        ),
        ("Type = 3", "is not a Destination class"),
        ("", "strange_module is not there; pip install --force-reinstall strange"),
    ],
)
def test_type_that_is_not_there_says_what_to_install(install: Install, source: str, text: str) -> None:
    install(source)

    with pytest.raises(NotInstalled, match=text):
        load_type("strange")


def test_unknown_type_names_those_that_there_are() -> None:
    with pytest.raises(NotInstalled, match=r"\(there are: .*file, .*null, .*webhook.*\); pip install its package"):
        load_type("nosuchtype")

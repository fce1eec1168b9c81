"""A configuration in which nothing is wrong, to change one thing in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sluicegate.config.model import Config
from sluicegate.config.plugins import SETTINGS_GROUP, TYPES_GROUP, Plugins
from sluicegate.config.reader import from_document
from sluicegate.errors import ConfigError, Problem

Read = Callable[..., Config]
Document = dict[str, Any]

GOOD: Document = {
    "data_dir": "data",
    "gateway": {"write_keys": {"web": "web-write-key"}},
    "destinations": {"archive": {"type": "file", "requires": ["necessary"], "path": "events.jsonl"}},
}


@pytest.fixture
def document() -> Document:
    return deepcopy(GOOD)


@pytest.fixture(scope="session")
def installed() -> Plugins:
    return Plugins.installed()


@pytest.fixture
def read(installed: Plugins) -> Read:
    def read_document(document: Document, **options: Any) -> Config:
        standard: dict[str, Any] = {"folder": Path("/srv"), "environ": {}, "plugins": installed}
        return from_document(document, source="test.toml", **standard | options)

    return read_document


@pytest.fixture
def problems_of(read: Read) -> Callable[..., dict[str, Problem]]:
    """The problems of a document by key; empty when it has none."""

    def problems(document: Document, **options: Any) -> dict[str, Problem]:
        try:
            read(document, **options)
        except ConfigError as error:
            return {problem.key: problem for problem in error.problems}
        return {}

    return problems


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Plugins]:
    """Plugins with one type `acme`, whose code cannot be imported and whose settings class is the given one."""

    def plugins(settings: object) -> Plugins:
        module = ModuleType("acme_settings")
        module.AcmeSettings = settings  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "acme_settings", module)
        return Plugins(
            {"acme": EntryPoint("acme", "acme_that_must_not_be_imported:Acme", TYPES_GROUP)},
            {"acme": EntryPoint("acme", "acme_settings:AcmeSettings", SETTINGS_GROUP)},
        )

    return plugins

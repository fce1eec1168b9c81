from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import Problem
from sluicegate.paths import DataDir

Document = dict[str, Any]
ProblemsOf = Callable[..., dict[str, Problem]]
KEY = "destinations.archive.path"


def test_file_of_the_system_is_none_for_a_destination(document: Document, problems_of: ProblemsOf) -> None:
    where = DataDir(Path("/srv/data"))
    own = [where.event_log, where.control, where.consent, where.consent_key, where.bell, where.store("crm"), where.logs]

    for path in (
        *own,
        "events.db",
        "events.db-wal",
        "x/../consent.db",
        "destinations/new.jsonl",
        "/srv/data/serve.lock",
    ):
        document["destinations"]["archive"]["path"] = str(path)
        assert problems_of(document)[KEY].reason == "is a file of the system's own", path

    for path in ("events.jsonl", "events.db.jsonl", "out/events.db", "/srv/events.db", "logs.jsonl"):
        document["destinations"]["archive"]["path"] = path
        assert problems_of(document) == {}, path


def test_layout_owns_all_of_its_files() -> None:
    where = DataDir(Path("/srv/data"))
    names = [name for name, found in vars(DataDir).items() if isinstance(found, property)]

    assert all(where.owns(getattr(where, name)) for name in names)
    assert not where.owns(where.root / "events.jsonl")


@pytest.mark.parametrize("kind", ["file", "console"])
def test_two_destinations_do_not_write_one_file(document: Document, problems_of: ProblemsOf, kind: str) -> None:
    second = {"type": kind, "requires": ["necessary"], "path": "./out/../events.jsonl"}
    document["destinations"]["second"] = second

    assert problems_of(document)["destinations.second.path"].reason == "is the file of archive too"

    document["destinations"]["second"] = second | {"enabled": False}
    assert problems_of(document) == {}


def test_the_data_directory_of_the_command_line_counts(document: Document, problems_of: ProblemsOf) -> None:
    document["destinations"]["archive"]["path"] = "/tmp/other/events.db"

    assert KEY in problems_of(document, data_dir=Path("/tmp/other"))
    assert problems_of(document) == {}

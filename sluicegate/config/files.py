"""The files that destinations write: none of them the system's own, and none that of two destinations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sluicegate.config.problems import Problems
from sluicegate.paths import DataDir


def check_files(files: Mapping[str, tuple[str, str]], data_dir: Path, problems: Problems) -> None:
    """Note what cannot be written; `files` has the key and the path of the file of each destination, by id."""
    where = DataDir(Path(os.path.realpath(data_dir)))
    owners: dict[Path, str] = {}
    for id_, (key, text) in files.items():
        path, here = Path(os.path.realpath(where.root / text)), ("destinations", id_, key)
        owner = owners.setdefault(path, id_)
        if where.owns(path):
            problems.add(here, "is a file of the system's own", 'name another one, such as "events.jsonl"')
        elif owner != id_:
            problems.add(here, f"is the file of {owner} too", "give each destination a file of its own")

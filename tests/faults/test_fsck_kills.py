from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import apsw
import pytest

from sluicegate.fsck.check import check
from sluicegate.fsck.databases import STORE, looked_at
from sluicegate.paths import DataDir
from sluicegate.registry import SCHEMA as CONTROL
from sluicegate.sqlite import Schema, fetch
from tests.faults.checking import checked_dir, clear_page, repaired, spoil
from tests.faults.flipping import root_of

Facts = Callable[[DataDir], object]


def in_its_wal(path: Path, sql: str) -> None:
    """Change a database as a killed process does: what it committed last is in the WAL alone."""
    with closing(apsw.Connection(str(path))) as db:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        db.execute(sql)


def facts_of(path: Path, schema: Schema, sql: str) -> object:
    with looked_at(path, schema) as db:
        return fetch(db, sql)


def progress_of_store(data_dir: DataDir) -> object:
    return facts_of(data_dir.store("crm"), STORE, "SELECT epoch, start, cursor, delivered FROM state")


def damaged_table(data_dir: DataDir) -> Facts:
    path = data_dir.store("crm")
    clear_page(path, root_of(path, "denied"))
    in_its_wal(path, "UPDATE state SET cursor = 40, delivered = 37")
    return progress_of_store


def damaged_index(data_dir: DataDir) -> Facts:
    path = data_dir.store("crm")
    clear_page(path, root_of(path, "dead_letters_message_id"))
    in_its_wal(path, "UPDATE state SET cursor = 40, delivered = 37")
    return progress_of_store


def accounts_that_cannot_be_set_right(data_dir: DataDir) -> Facts:
    path = data_dir.store("crm")
    spoil(path, "UPDATE state SET delivered = 7; DELETE FROM decisions; DELETE FROM decisions_before")
    clear_page(path, root_of(path, "dead_letters_message_id"))
    in_its_wal(path, "UPDATE state SET cursor = 0")
    return progress_of_store


def damaged_registration(data_dir: DataDir) -> Facts:
    with closing(apsw.Connection(str(data_dir.control))) as db:
        n_rows = 200
        db.executemany("INSERT INTO destinations VALUES (?, 3, 1, NULL, NULL)", [(f"{n:040}",) for n in range(n_rows)])
    data = data_dir.control.read_bytes()
    clear_page(data_dir.control, data.index(b"%040d" % 100) // 4096 + 1)
    in_its_wal(data_dir.control, "INSERT INTO destinations VALUES ('new', 7, 1, NULL, NULL)")
    return lambda where: facts_of(where.control, CONTROL, "SELECT start FROM destinations WHERE id = 'new'")


@pytest.mark.parametrize(
    "damage", [damaged_table, damaged_index, accounts_that_cannot_be_set_right, damaged_registration]
)
def test_repair_that_is_killed_anywhere_sets_nothing_back(tmp_path: Path, damage: Callable[[DataDir], Facts]) -> None:
    whole = checked_dir(tmp_path / "whole")
    facts = damage(whole)
    before, sound = facts(whole), copy_of(whole, tmp_path / "sound")
    repaired(sound)
    wrong_after = wrong_with(sound)
    assert facts(sound) == before

    n_kills, seen = 0, set()
    while (killed := copy_of(whole, tmp_path / f"killed-{n_kills}")) and repair_killed_at(n_kills + 1, killed):
        n_kills += 1
        assert facts(killed) == before, f"killed before call {n_kills}"
        if (left := contents(killed)) not in seen:
            seen.add(left)
            repaired(killed)
            assert (wrong_with(killed), facts(killed)) == (wrong_after, before), f"killed before call {n_kills}"
            assert not list(killed.root.rglob(".*.repairing"))
        shutil.rmtree(killed.root)

    assert n_kills > 20


def contents(data_dir: DataDir) -> tuple[object, ...]:
    """The databases, and whether they have a copy beside them that is not complete."""
    files = [path for path in sorted(data_dir.root.rglob("*")) if path.name.endswith((".db", ".db-wal", ".repairing"))]
    return tuple((path.name, path.name.endswith(".repairing") or path.read_bytes()) for path in files)


def wrong_with(data_dir: DataDir) -> list[str]:
    found = check(data_dir, repair=False, progress=lambda *_: None)
    return [one.what.replace(str(data_dir.root), "") for one in found]


def copy_of(data_dir: DataDir, root: Path) -> DataDir:
    shutil.copytree(data_dir.root, root, ignore=shutil.ignore_patterns("*-shm"))
    return DataDir(root)


def repair_killed_at(n: int, data_dir: DataDir) -> bool:
    """Repair in a process that is killed before its n-th call that may touch the disk; false when it has fewer."""
    pid = os.fork()
    if not pid:
        try:
            sys.setprofile(Killer(n))
            repaired(data_dir)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


class Killer:
    """Kills its process before the n-th call, within the repair of a database, of the system or of SQLite."""

    def __init__(self, n: int) -> None:
        self._left = n
        self._inside: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call" and frame.f_code.co_name == "mend_database":
            self._inside = frame
        elif event == "return" and frame is self._inside:
            self._inside = None
        elif event == "c_call" and self._inside is not None and is_of_the_disk(what):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def is_of_the_disk(what: Any) -> bool:
    owner = getattr(what, "__self__", None)
    return type(owner).__module__.startswith("apsw") or getattr(what, "__module__", None) == "posix" or owner is os

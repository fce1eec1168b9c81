from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.standing import Rules
from sluicegate.consent.store import SCHEMA, NotBegun
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.sqlite import connect
from tests.consent.conftest import OpenView
from tests.consent.saying import ANNE, NOW_MS, D, G, state, told


def test_statement_49_the_files_never_hold_an_id(ledger: Ledger) -> None:
    ledger.record([told(Subject("anne@example.com", "visitor-4711"), True, 5)], now_ms=NOW_MS)

    files = b"".join(path.read_bytes() for path in ledger.path.parent.iterdir())

    assert b"anne" not in files
    assert b"4711" not in files


def test_statement_32_a_locked_ledger_says_so_and_recovers(
    ledger: Ledger, open_view: OpenView, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = open_view()
    other = Ledger(ledger.path, ledger.path.with_name("consent.key"))
    other.db.set_busy_timeout(0)
    ledger.db.execute("BEGIN IMMEDIATE")

    with pytest.raises(LogUnavailable):
        other.record([told(ANNE, True, 5)], now_ms=NOW_MS)
    ledger.db.execute("ROLLBACK")
    other.record([told(ANNE, True, 5)], now_ms=NOW_MS)
    other.close()

    assert state(view, ANNE) is G


def test_statement_32_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    path, key = tmp_path / "consent.db", tmp_path / "consent.key"
    Ledger(path, key).close()
    path.write_bytes(b"x" * 8192)

    with pytest.raises(LogDamaged):
        LedgerView(path, key, Rules())


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("lost", ["consent.db", "consent.key"])
def test_statement_32_a_ledger_without_its_other_half_is_damage(tmp_path: Path, lost: str, create: bool) -> None:
    path, key = tmp_path / "consent.db", tmp_path / "consent.key"
    Ledger(path, key).close()
    (tmp_path / lost).unlink()

    with pytest.raises(LogDamaged, match="restore"):
        Ledger(path, key, create=create)


def test_a_start_that_ended_before_the_key_was_made_is_made_good(tmp_path: Path) -> None:
    path, key = tmp_path / "consent.db", tmp_path / "consent.key"
    connect(path, SCHEMA).close()
    with pytest.raises(NotBegun, match="try again"):
        Ledger(path, key, create=False)

    Ledger(path, key).close()

    Ledger(path, key, create=False).close()


def test_a_ledger_is_not_read_with_another_key(tmp_path: Path) -> None:
    Ledger(tmp_path / "consent.db", tmp_path / "consent.key").close()
    (tmp_path / "consent.key").write_bytes(bytes(32))

    with pytest.raises(LogDamaged, match="restore both"):
        Ledger(tmp_path / "consent.db", tmp_path / "consent.key")


def test_the_key_is_for_the_owner_alone(ledger: Ledger) -> None:
    assert ledger.path.with_name("consent.key").stat().st_mode & 0o777 == 0o600
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def _write_many(path: Path, key: Path, start: int) -> None:
    ledger = Ledger(path, key)
    for n in range(50):
        ledger.record([told(Subject(f"user {n}"), start % 2 == 0, n + start, purpose=f"p{n % 7}")], now_ms=NOW_MS)
    ledger.close()


def test_several_processes_write_and_no_version_is_used_twice(ledger: Ledger, open_view: OpenView) -> None:
    key = ledger.path.with_name("consent.key")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(ledger.path, key, start)) for start in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    view = open_view()

    versions = [v for (v,) in ledger.db.execute("SELECT version FROM history ORDER BY version")]
    assert versions == list(range(1, view.version + 1))
    assert {state(view, Subject(f"user {n}"), f"p{n % 7}") for n in range(50)} == {D}

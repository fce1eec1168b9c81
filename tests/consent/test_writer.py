from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.writer import FORGET_EVERY_S, LedgerWriter
from sluicegate.errors import LogDamaged, LogUnavailable
from tests.consent.saying import ANNE, told

PATIENCE_S = 10.0
DAY_S = 86_400.0


class Written:
    """A writer with a clock that is set by hand, and what it has reported."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "consent.db", folder / "consent.key"
        self.now = 1_000 * DAY_S
        self.before_opening: Callable[[], object] = lambda: None
        self.reports: SimpleQueue[tuple[list[str], Any]] = SimpleQueue()
        self.writer: LedgerWriter[str] = LedgerWriter(
            self.open_impatiently,
            on_recorded=lambda tokens, recorded: self.reports.put((tokens, recorded)),
            on_failed=lambda tokens, error: self.reports.put((tokens, error)),
            history_ttl_s=DAY_S,
            clock=lambda: self.now,
        )
        self.writer.start()

    def open_impatiently(self) -> Ledger:
        self.before_opening()
        ledger = Ledger(self.path, self.key)
        ledger.db.set_busy_timeout(0)
        return ledger

    def write(self, token: str, granted: bool, at_ms: int) -> Any:
        assert self.writer.submit([told(ANNE, granted, at_ms)], token)
        tokens, outcome = self.reports.get(timeout=PATIENCE_S)
        assert tokens == [token]
        return outcome


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    one = Written(tmp_path)
    yield one
    assert one.writer.close(PATIENCE_S)


def test_each_hand_over_is_reported_once_it_is_on_disk(written: Written) -> None:
    assert [written.write("a", True, 5).version, written.write("b", False, 6).version] == [1, 2]


def test_what_waits_at_the_end_is_written(written: Written) -> None:
    for number in range(50):
        assert written.writer.submit([told(ANNE, True, number + 1)], str(number))

    assert written.writer.close(PATIENCE_S)
    assert not written.writer.submit([told(ANNE, True, 99)], "late")

    tokens: list[str] = []
    while not written.reports.empty():
        tokens += written.reports.get()[0]
    assert tokens == [str(number) for number in range(50)]


def test_statement_32_a_writer_goes_on_when_the_ledger_is_whole_again(written: Written) -> None:
    written.path.write_bytes(b"x" * 8192)
    failure = written.write("a", True, 5)
    written.path.unlink()

    assert isinstance(failure, LogDamaged)
    assert written.write("b", True, 5).version == 1


def test_statement_32_a_locked_ledger_fails_only_what_came_meanwhile(written: Written) -> None:
    written.write("a", True, 5)
    other = Ledger(written.path, written.key)
    other.db.execute("BEGIN IMMEDIATE")

    failure = written.write("b", True, 6)
    other.db.execute("ROLLBACK")
    other.close()

    assert isinstance(failure, LogUnavailable)
    assert written.write("c", True, 7).version == 2


def test_entry_that_cannot_be_written_fails_nobody_elses(written: Written) -> None:
    broken: Any = {"marketing": (None,)}
    unwritable = told(ANNE, True, 6)._replace(writes=broken)
    opened = threading.Event()
    written.before_opening = lambda: opened.wait(PATIENCE_S)
    for token, entry in (("a", told(ANNE, True, 5)), ("b", unwritable), ("c", told(ANNE, False, 7))):
        assert written.writer.submit([entry], token)

    opened.set()  # with the last two in one transaction, or all three

    outcomes: dict[str, Any] = {}
    while len(outcomes) < 3:
        tokens, outcome = written.reports.get(timeout=PATIENCE_S)
        outcomes |= dict.fromkeys(tokens, outcome)
    assert isinstance(outcomes["b"], LogDamaged)
    assert (outcomes["a"].version, outcomes["c"].version) == (1, 2)
    assert written.write("d", True, 8).version == 3


def test_history_that_cannot_be_forgotten_does_not_end_the_writer(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*args: object, **options: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("sluicegate.consent.writer.forget_old", boom)

    assert [written.write("a", True, 5).version, written.write("b", False, 6).version] == [1, 2]


def test_old_history_goes_in_passing(written: Written) -> None:
    written.write("a", True, 5)
    written.now += DAY_S + FORGET_EVERY_S
    written.write("b", False, 6)
    written.now += FORGET_EVERY_S
    written.write("c", True, 7)
    written.writer.close(PATIENCE_S)

    ledger = Ledger(written.path, written.key)
    assert [change.version for change in history(ledger, ANNE)] == [3, 2]
    ledger.close()


def test_old_history_goes_also_after_the_clock_was_set_back(written: Written) -> None:
    written.now += 1_000 * DAY_S
    written.write("a", True, 5)
    written.now -= 1_000 * DAY_S
    written.write("b", False, 6)
    written.now += DAY_S + FORGET_EVERY_S
    written.write("c", True, 7)
    written.writer.close(PATIENCE_S)

    ledger = Ledger(written.path, written.key)
    assert [change.version for change in history(ledger, ANNE)] == [3]
    ledger.close()

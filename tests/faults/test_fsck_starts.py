from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluicegate.errors import LogDamaged
from sluicegate.eventlog.bell import Bell, rung
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.fsck.check import check
from sluicegate.fsck.findings import Finding
from sluicegate.paths import DataDir
from sluicegate.registry import Registry, registrations
from sluicegate.testing.batches import batch_of
from tests.faults.checking import N_EVENTS, checked_dir, repaired, spoil

HEAD = N_EVENTS + 10
REGISTERED_AT_MS = 1_700_000_005_000
IMPOSSIBLE = [HEAD + 1, 1 << 30, (1 << 63) - 1, -1, -(1 << 63)]


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    """With `N_EVENTS` from before `REGISTERED_AT_MS`, and ten from afterwards."""
    data_dir = checked_dir(tmp_path / "data")
    with closing(SqliteLog(data_dir.event_log)) as log:
        for at_ms in range(REGISTERED_AT_MS, REGISTERED_AT_MS + 10):
            log.append([batch_of([b"{}"])], received_at_ms=at_ms)
    Bell(data_dir.bell).ring(HEAD)
    return data_dir


def found(data_dir: DataDir) -> list[Finding]:
    return check(data_dir, repair=False, progress=lambda *_: None)


def register(data_dir: DataDir, *, start: int) -> None:
    with closing(apsw.Connection(str(data_dir.control))) as db:
        db.execute("INSERT INTO destinations VALUES ('new', ?, ?, NULL, NULL)", (start, REGISTERED_AT_MS))


def head_of(data_dir: DataDir) -> int:
    with closing(SqliteLog(data_dir.event_log, create=False, reader=None)) as log:
        return log.head()


@pytest.mark.parametrize("start", IMPOSSIBLE)
def test_impossible_start_is_found_and_set_to_where_it_was_registered(data_dir: DataDir, start: int) -> None:
    register(data_dir, start=start)

    (one,) = found(data_dir)
    (mended,) = repaired(data_dir)

    assert (one.file, one.n_events, one.repaired) == ("control.db", 0, None)
    assert f"'new' begins after event {start}" in one.what
    assert f"after event {N_EVENTS}" in (mended.repaired or "")
    assert registrations(data_dir)["new"].start == N_EVENTS
    assert found(data_dir) == []
    assert head_of(data_dir) == HEAD


@pytest.mark.parametrize("start", IMPOSSIBLE)
def test_impossible_start_of_a_destination_with_a_store_is_set_to_that_of_the_store(
    data_dir: DataDir, start: int
) -> None:
    spoil(data_dir.control, f"UPDATE destinations SET start = {start}")

    (one,) = found(data_dir)
    (mended,) = repaired(data_dir)

    assert "'crm' begins after event" in one.what
    assert mended.repaired
    assert registrations(data_dir)["crm"].start == 0
    assert found(data_dir) == []


@pytest.mark.parametrize("start", [0, HEAD])
def test_start_within_the_log_is_fine(data_dir: DataDir, start: int) -> None:
    register(data_dir, start=start)

    assert found(data_dir) == []


def test_start_beyond_a_log_of_which_only_it_tells_the_end_is_believed(data_dir: DataDir) -> None:
    data_dir.bell.unlink()
    register(data_dir, start=HEAD + 10)

    (one,) = found(data_dir)

    assert rung(data_dir.bell) == 0
    assert (one.file, one.first, one.last) == ("events.db", HEAD + 1, HEAD + 10)


@pytest.mark.parametrize(
    ("start_type", "due"),
    [(b"\x0f", N_EVENTS), (b"\x00", 0)],  # a text of one byte; NULL, which moves what follows: nothing of it is left
)
def test_registration_without_a_readable_start_gets_one_that_loses_nothing(
    data_dir: DataDir, start_type: bytes, due: int
) -> None:
    register(data_dir, start=77)
    data = data_dir.control.read_bytes()
    record = data.index(b"new\x4d")
    data_dir.control.write_bytes(data[: record - 4] + start_type + data[record - 3 :])

    repaired(data_dir)

    assert {id_: one.start for id_, one in registrations(data_dir).items()} == {"crm": 0, "new": due}
    assert found(data_dir) == []


@pytest.mark.parametrize("start", [HEAD + 1, -1])
def test_system_does_not_start_with_an_impossible_start(data_dir: DataDir, start: int) -> None:
    register(data_dir, start=start)

    with closing(Registry(data_dir.control)) as registry, pytest.raises(LogDamaged, match="fsck --repair"):
        registry.register(["crm"], head=HEAD)

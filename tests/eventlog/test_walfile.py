from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.errors import LogDamaged
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from sluicegate.eventlog.walfile import wal_frames
from sluicegate.fsck.log import check_log
from sluicegate.pages import WAL_HEADER_BYTES
from sluicegate.paths import DataDir
from tests.eventlog.test_seen import batch

N_ROWS = 20


def append(log: SqliteLog, number: int) -> None:
    log.append([batch(f"m{number}")], received_at_ms=number)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A log whose writer was killed when it began its WAL anew: the header is there, no frame of the next commit."""
    log = SqliteLog(tmp_path / "events.db")
    for number in range(1, N_ROWS + 1):
        append(log, number)
    log.maintain()
    wal = tmp_path / "events.db-wal"
    stored, before = log.path.read_bytes(), wal.read_bytes()
    append(log, N_ROWS + 1)
    after = wal.read_bytes()
    log.close()
    assert before[:WAL_HEADER_BYTES] != after[:WAL_HEADER_BYTES]
    log.path.write_bytes(stored)
    wal.write_bytes(after[:WAL_HEADER_BYTES] + before[WAL_HEADER_BYTES:])
    return log.path


def test_writer_killed_as_it_begins_the_wal_anew_leaves_a_log_that_starts(killed: Path) -> None:
    assert wal_frames(killed) == []
    check_end(killed, acknowledged=N_ROWS)

    assert check_log(DataDir(killed.parent), due_head=N_ROWS, progress=lambda what, done, of: None) == []
    log = SqliteLog(killed, create=False)
    append(log, N_ROWS + 1)
    assert log.head() == N_ROWS + 1
    log.close()


def test_empty_header_says_nothing_about_the_frames_behind_it(killed: Path) -> None:
    wal = killed.with_name("events.db-wal")
    wal.write_bytes(bytes(WAL_HEADER_BYTES) + wal.read_bytes()[WAL_HEADER_BYTES:])

    assert len(wal_frames(killed)) == N_ROWS
    with pytest.raises(LogDamaged, match="is damaged"):
        check_end(killed, acknowledged=N_ROWS)

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sluicegate.audit import reading
from sluicegate.config.model import Requirement
from sluicegate.delivery.store import DestinationStore
from sluicegate.paths import DataDir
from sluicegate.proof import export, missing_head, verify


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=3, delivered=3)
    store.close()
    return data_dir


@pytest.mark.parametrize("counts", ["x", "[]", '{"delivered": null}', '{"delivered": 1e999}'])
def test_beginning_of_a_chain_that_cannot_be_read_is_told(data_dir: DataDir, counts: str) -> None:
    with apsw.Connection(str(data_dir.store("crm"))) as db:
        db.execute("UPDATE decisions_before SET counts = ?", (counts,))

    (verified,) = verify(data_dir, head=3)
    missing = missing_head(data_dir, "crm", 1, "0123abcd")

    assert verified.fault == missing == "the beginning of the chain cannot be read"


def test_export_that_nobody_reads_on_does_not_keep_the_store_from_being_tidied(data_dir: DataDir) -> None:
    decided = export(data_dir, "crm")
    first = next(decided)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.commit(1, cursor=4, delivered=1)

    db = apsw.Connection(str(data_dir.store("crm")))
    db.execute("SELECT 1 FROM state").fetchall()
    left = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.close()

    assert ((first.first, first.last), left) == ((1, 3), (0, 0))
    assert [(one.first, one.last) for one in decided] == []
    store.close()


@pytest.mark.parametrize(("chunk", "last"), [(4, 9), (5, 9), (6, 7)])
def test_export_tells_every_event_once_while_more_is_decided(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch, chunk: int, last: int
) -> None:
    """The last row that was read grows before the next ones are; another requirement begins another row."""
    monkeypatch.setattr(reading, "_AFTER", reading._AFTER.replace(str(reading.CHUNK), str(chunk)))
    monkeypatch.setattr(reading, "CHUNK", chunk)
    path = data_dir.store("crm")
    stores = [DestinationStore.open(path, start=0, requires=Requirement((purpose,))) for purpose in ("ads", "mail")]
    for cursor in range(4, 8):
        stores[cursor % 2].commit(1, cursor=cursor, delivered=1)
    told: list[int] = []

    for one in export(data_dir, "crm"):
        if not told:
            stores[1].commit(1, cursor=8, delivered=1)
            stores[0].commit(1, cursor=9, delivered=1)
        told += range(one.first, one.last + 1)

    assert told == [*range(1, last + 1)]
    for store in stores:
        store.close()


@pytest.mark.parametrize("number", [2, 10**30])
def test_row_that_no_chain_can_have_is_missing(data_dir: DataDir, number: int) -> None:
    assert missing_head(data_dir, "crm", number, "0123abcd") == f"row {number} is missing"


def test_noted_head_that_was_replaced_by_its_sum_is_told(data_dir: DataDir) -> None:
    with apsw.Connection(str(data_dir.store("crm"))) as db:
        ((head,),) = db.execute("SELECT hash FROM decisions WHERE number = 1")
        db.execute("DELETE FROM decisions")
        db.execute("UPDATE decisions_before SET (last, number, counts) = (3, 7, '{\"delivered\": 3}')")

    (verified,) = verify(data_dir, head=3)
    fault = missing_head(data_dir, "crm", 1, head.hex())

    assert verified.fault is None  # nothing within the store can tell
    assert fault == "row 1 is not kept any more, only those from 8 on; that is right if it is older than audit_ttl"

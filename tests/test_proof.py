from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sluicegate.delivery.store import DestinationStore
from sluicegate.paths import DataDir
from sluicegate.proof import missing_head, verify


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=3, delivered=3)
    store.close()
    return data_dir


@pytest.mark.parametrize("counts", ["x", "[]", '{"delivered": null}'])
def test_beginning_of_a_chain_that_cannot_be_read_is_told(data_dir: DataDir, counts: str) -> None:
    with apsw.Connection(str(data_dir.store("crm"))) as db:
        db.execute("UPDATE decisions_before SET counts = ?", (counts,))

    (verified,) = verify(data_dir, head=3)
    missing = missing_head(data_dir, "crm", 1, "0123abcd")

    assert verified.fault == missing == "the beginning of the chain cannot be read"


@pytest.mark.parametrize("number", [2, 10**30])
def test_row_that_no_chain_can_have_is_missing(data_dir: DataDir, number: int) -> None:
    assert missing_head(data_dir, "crm", number, "0123abcd") == f"row {number} is missing"

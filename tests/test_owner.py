from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluicegate.consent.ledger import Ledger
from sluicegate.delivery.erasing import locked
from sluicegate.lock import DataDirLock
from sluicegate.paths import DataDir
from sluicegate.registry import open_data

SERVICE = 41_234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_in_the_data_directory_of_a_service_is_the_service_s(tmp_path: Path) -> None:
    where = DataDir(tmp_path / "data")
    where.create()
    for folder in (where.root, where.stores, where.logs):
        os.chown(folder, SERVICE, SERVICE)

    DataDirLock(where.lock).release()
    with locked(where):
        Ledger(where.consent, where.consent_key).close()
    for opened in open_data(where):
        opened.close()

    made = {path.name: path.stat() for path in where.root.iterdir()}
    assert {"serve.lock", "erasing.lock", "consent.db", "consent.key", "control.db", "events.db"} <= made.keys()
    assert {name: (one.st_uid, one.st_gid) for name, one in made.items()} == dict.fromkeys(made, (SERVICE, SERVICE))

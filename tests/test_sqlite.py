from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sluicegate.errors import LogUnavailable
from sluicegate.sqlite import errors_of


@pytest.mark.parametrize("error", [apsw.BusyError, apsw.LockedError, apsw.ProtocolError])
def test_database_that_another_process_holds_is_no_damage(error: type[apsw.Error]) -> None:
    with pytest.raises(LogUnavailable, match=r"^crm\.db: is locked by another process"), errors_of(Path("crm.db")):
        raise error("locking protocol")

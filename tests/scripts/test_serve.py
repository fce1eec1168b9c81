from __future__ import annotations

import os

import pytest

from tests.end_to_end.harness import ARCHIVE, MakeSystem, track


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", ">&-"])
def test_system_runs_without_standard_files(system: MakeSystem, closed: str) -> None:
    running = system(ARCHIVE, wrapper=("sh", "-c", f'exec "$@" {closed}', "sh")).start()
    running.post([track(0)])
    running.until_delivered("archive", 1)
    standard = [os.readlink(f"/proc/{running.pid}/fd/{fd}") for fd in range(3)]

    code = running.stop()

    assert code == 0
    assert {path for path in standard if not path.endswith("serve.log")} == {"/dev/null"}

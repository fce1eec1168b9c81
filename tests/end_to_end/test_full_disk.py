from __future__ import annotations

import json

from tests.end_to_end import hasty
from tests.end_to_end.harness import ARCHIVE, MakeSystem, poll

FULL = '[log]\nmin_free = "1024GiB"\n'


def test_system_starts_on_a_full_disk_and_says_that_it_is_not_ready_and_why(system: MakeSystem) -> None:
    running = system(FULL + ARCHIVE, program=hasty.PROGRAM).start()

    told = poll("the word that it runs", lambda: "runs, not ready yet: http://" in running.log() and running.log())
    status, body = running.request("GET", "/ready")

    assert status == 503
    assert "MiB free, less than 1048576 MiB" in json.loads(body)["message"]
    assert "MiB free, less than 1048576 MiB" in told.split("runs, not ready yet")[1]
    assert running.status("archive").pending == 0
    assert running.stop() == 0

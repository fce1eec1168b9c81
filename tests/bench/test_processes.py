from __future__ import annotations

import subprocess
import sys

import pytest

from sluicegate.bench.errors import BenchError
from sluicegate.bench.measure import started
from sluicegate.bench.processes import Helper, end, spawn

# The child is in a session of its own and ignores SIGTERM, as a bad daemon would.
PARENT = """
import subprocess, sys
code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


def test_end_kills_what_outlives_its_parent() -> None:
    process = spawn([sys.executable, "-c", PARENT], output=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    child = int(process.stdout.readline())

    killed = end(process, grace_s=5.0)
    process.stdout.close()
    process.stdin.close()

    assert killed == 1
    assert started(process.pid) is None
    assert started(child) is None


def test_helper_that_does_not_exist_is_an_error() -> None:
    helper = Helper("no_such_program")

    with pytest.raises(BenchError, match="no_such_program has ended with 1"):
        helper.answer()

    helper.stop()


def test_helper_that_says_nothing_in_time_is_an_error() -> None:
    helper = Helper("generator")

    with pytest.raises(BenchError, match="did not answer within 0 s"):
        helper.answer(timeout_s=0.0)

    helper.stop()

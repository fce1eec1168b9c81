from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.bench.measure import filesystem, fsync_ms, started, tree, tree_cpu_s, tree_pss_bytes

# Starts a child that burns 0.2 s of CPU and ends, and one that stays; then says the pid of that.
FAMILY = """
import subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.2: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        yield parent.pid, int(parent.stdout.readline())


def test_tree_has_parent_and_child(family: tuple[int, int]) -> None:
    parent, child = family

    assert tree(parent) == [parent, child]


def test_tree_of_a_process_that_is_gone_is_empty() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert tree(process.pid) == []
    assert started(process.pid) is None


def test_cpu_of_a_tree_includes_children_that_ended(family: tuple[int, int]) -> None:
    parent, _child = family

    assert tree_cpu_s(parent) >= 0.19


def test_memory_of_a_tree_is_more_than_of_its_child(family: tuple[int, int]) -> None:
    parent, child = family

    assert tree_pss_bytes(parent) > tree_pss_bytes(child) > 0


def test_fsync_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    assert fsync_ms(tmp_path, times=3) > 0
    assert list(tmp_path.iterdir()) == []


def test_filesystem_of_a_folder_is_named() -> None:
    assert filesystem(Path("/proc")) == "proc"
    assert filesystem(Path(os.path.sep)) != "unknown"

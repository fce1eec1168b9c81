from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluicegate.pressure import MemoryUse, memory_use

GIB = 1 << 30
MEMINFO = """\
MemTotal:        8388608 kB
MemFree:          100000 kB
MemAvailable:    2097152 kB
HugePages_Total:       0
"""
MACHINE = MemoryUse(6 * GIB, 8 * GIB)


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(folder: str, *, limit: str, high: str = "max", used: int, stat: str = "anon 5\n") -> dict[str, str]:
    base = f"sys/fs/cgroup{folder}"
    return {
        f"{base}/memory.max": f"{limit}\n",
        f"{base}/memory.high": f"{high}\n",
        f"{base}/memory.current": f"{used}\n",
        f"{base}/memory.stat": stat,
    }


def test_without_a_control_group_it_is_what_the_machine_has(tmp_path: Path) -> None:
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"})

    use = memory_use(tmp_path)

    assert use == MACHINE
    assert use.percent == 75.0


def test_group_with_a_limit_counts_without_what_the_kernel_can_drop(tmp_path: Path) -> None:
    stat = f"anon 7\nfile 900\ninactive_file {GIB // 4}\nactive_file {GIB // 8}\nslab_reclaimable {GIB // 8}\nslab 9\n"
    group = v2("/system.slice/it.service", limit=str(2 * GIB), used=GIB + GIB // 2, stat=stat)
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/system.slice/it.service\n", **group})

    assert memory_use(tmp_path) == MemoryUse(GIB, 2 * GIB)


def test_the_lower_of_the_limits_that_slow_down_and_that_kill_counts(tmp_path: Path) -> None:
    group = v2("/it", limit=str(4 * GIB), high=str(3 * GIB), used=2 * GIB)
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/it\n", **group})

    assert memory_use(tmp_path) == MemoryUse(2 * GIB, 3 * GIB)


def test_of_a_group_and_those_above_it_the_one_closest_to_its_limit_counts(tmp_path: Path) -> None:
    groups = v2("/pods/it", limit=str(2 * GIB), used=GIB) | v2("/pods", limit=str(4 * GIB), used=3 * GIB)
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/pods/it\n", **groups})

    assert memory_use(tmp_path) == MemoryUse(3 * GIB, 4 * GIB)


def test_group_without_a_limit_is_none(tmp_path: Path) -> None:
    group = v2("/it", limit="max", used=GIB)
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/it\n", **group})

    assert memory_use(tmp_path) == MACHINE


@pytest.mark.parametrize("path", ["/docker/0123", "/../../outside"])
def test_container_that_sees_its_group_as_the_root_finds_it_there(tmp_path: Path, path: str) -> None:
    group = v2("", limit=str(GIB), used=GIB // 2)
    make(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": f"0::{path}\n", **group})

    assert memory_use(tmp_path) == MemoryUse(GIB // 2, GIB)


def test_group_whose_name_is_not_utf_8_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    make(tmp_path, {"proc/meminfo": MEMINFO, **v2(f"/{name}", limit=str(GIB), used=GIB // 2)})
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/caf\xe9\n")

    assert memory_use(tmp_path) == MemoryUse(GIB // 2, GIB)


def test_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/memory"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "12:cpu,cpuacct:/it\n7:memory:/it\n0::/it\n",
        f"{base}/it/memory.limit_in_bytes": f"{GIB}\n",
        f"{base}/it/memory.usage_in_bytes": f"{GIB // 2}\n",
        f"{base}/it/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 4}\n",
        f"{base}/memory.limit_in_bytes": "9223372036854771712\n",
        f"{base}/memory.usage_in_bytes": f"{GIB}\n",
    }
    make(tmp_path, files)

    assert memory_use(tmp_path) == MemoryUse(GIB // 4, GIB)


def test_where_nothing_says_it_nothing_is_known(tmp_path: Path) -> None:
    assert memory_use(tmp_path) is None


@pytest.mark.parametrize("meminfo", ["", "MemTotal: many kB\n", "MemTotal: 5 kB\n", "MemTotal:\nMemAvailable: 1 kB\n"])
def test_what_cannot_be_understood_is_not_guessed(tmp_path: Path, meminfo: str) -> None:
    make(tmp_path, {"proc/meminfo": meminfo, "proc/self/cgroup": "nonsense\n::\n0::/it\n"})

    assert memory_use(tmp_path) is None


def test_this_machine_says_something() -> None:
    use = memory_use()

    assert use is not None
    assert 0.0 < use.percent < 100.0

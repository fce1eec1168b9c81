"""Whoever is not the system's own user may connect to what listens, and nothing of what they send has an effect."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.actors import ports
from tests.end_to_end.harness import System, track
from tests.security.tree import tree

NOBODY = 65534
ATTACKER = Path(__file__).with_name("attacker.py")
MAX_GROWTH_BYTES = 64 * 1024 * 1024
"""Of all processes together; what the attacker holds would be more than a gigabyte."""
DESTINATIONS = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


@pytest.fixture
def running(system: Callable[..., System]) -> System:
    one = system(DESTINATIONS).start()
    one.post([track()])
    one.until_delivered("archive", 1)
    return one


def listening(system: System) -> dict[int, set[tuple[str, int]]]:
    return {pid: ports.listening(pid) for pid in tree(system.pid)}


def all_ports(system: System) -> list[int]:
    return sorted({port for found in listening(system).values() for _, port in found})


@contextmanager
def attack(marker: Path, targets: list[int], *, uid: int, within: Sequence[str] = ()) -> Iterator[Mapping[str, int]]:
    """What the attacker reports; it keeps its half-open connections until the block ends."""
    command = [*within, sys.executable, str(ATTACKER), str(uid), str(marker), *map(str, targets)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd="/", stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin and process.stdout and process.stderr
    try:
        line = process.stdout.readline()
        if not line:
            said = process.stderr.read().decode()
            if within and said.startswith(within[0].rpartition("/")[2]):
                pytest.skip(f"{within[0]} is not allowed here: {said[-200:]}")
            raise AssertionError(f"the attacker has failed: {said[-2000:]}")
        yield json.loads(line)
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()


def rss_bytes(pids: Sequence[int]) -> int:
    """The memory of these processes together."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def still_works(system: System, before: list[int]) -> None:
    assert system.status("archive").delivered == 1
    assert tree(system.pid) == before
    system.post([track()])
    system.until_delivered("archive", 2)


def test_only_loopback_is_listened_on_and_only_by_known_parts(running: System) -> None:
    found = listening(running)

    sockets = [pair for pairs in found.values() for pair in pairs]
    gateway = int(running.running.gateway.rpartition(":")[2])
    assert {address for address, _ in sockets} == {"127.0.0.1"}
    assert {gateway, running.running.actor_port} <= {port for _, port in sockets}
    assert all(len({port for _, port in pairs} - {gateway}) <= 1 for pairs in found.values())


@AS_ROOT
def test_bytes_of_another_user_change_nothing(running: System, tmp_path: Path) -> None:
    before, targets = tree(running.pid), all_ports(running)
    memory = rss_bytes(before)
    tmp_path.chmod(0o777)
    marker = tmp_path / "code-has-run"

    with attack(marker, targets, uid=NOBODY) as report:
        assert report["uid"] == NOBODY
        assert report["held"] > len(targets)
        assert report["large"] > len(targets)
        still_works(running, before)
        assert rss_bytes(before) < memory + MAX_GROWTH_BYTES

    assert not marker.exists()


@AS_ROOT
def test_another_network_cannot_connect_at_all(running: System, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare(1) is not installed")
    before, targets = tree(running.pid), all_ports(running)
    marker = tmp_path / "code-has-run"

    with attack(marker, targets, uid=0, within=[unshare, "-n"]) as report:
        assert report["held"] == 0
        assert report["refused"] >= len(targets)
        still_works(running, before)


@AS_ROOT
def test_another_user_can_read_nothing_of_the_data_directory(running: System, tmp_path: Path) -> None:
    for parent in [tmp_path, *tmp_path.parents]:
        if parent != Path("/") and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    script = """if True:
        import os, sys
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        assert os.path.exists(os.path.dirname(sys.argv[1]))
        try:
            print(os.listdir(sys.argv[1]))
        except PermissionError:
            print("refused")
        """

    done = subprocess.run(
        [sys.executable, "-c", script, str(running.data_dir.root)], cwd="/", capture_output=True, text=True
    )

    assert done.stdout.strip() == "refused", done


def test_data_directory_and_keys_are_the_owners_alone(running: System) -> None:
    paths = running.data_dir
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (paths.root, paths.stores, paths.logs)}
    files = {path: stat.S_IMODE(path.stat().st_mode) for path in (paths.actor_key, paths.running, paths.lock)}
    logs = {path: stat.S_IMODE(path.stat().st_mode) for path in paths.logs.iterdir()}

    assert set(modes.values()) == {0o700}
    assert set(files.values()) | set(logs.values()) == {0o600}


def test_key_that_others_can_read_is_refused_at_start(system: Callable[..., System]) -> None:
    one = system(DESTINATIONS)
    one.data_dir.create()
    one.data_dir.actor_key.write_bytes(bytes(32))
    one.data_dir.actor_key.chmod(0o644)

    done = one.admin("serve")

    assert done.returncode == 1
    assert "others can read it: chmod 600" in done.stderr + done.stdout


@AS_ROOT
def test_data_directory_that_cannot_be_made_is_a_named_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    config = tmp_path / "sluicegate.toml"
    config.write_text(f'data_dir = "{blocked}/data"\n[gateway]\nwrite_keys = {{ web = "a-write-key" }}\n')
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--config", str(config)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    assert done.returncode == 1
    assert "the data directory cannot be used" in done.stderr
    assert "Traceback" not in done.stderr

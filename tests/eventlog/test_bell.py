from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.eventlog import bell as bell_module
from sluicegate.eventlog.bell import Bell, BellWatch, rung


class NoInotify:
    def inotify_init1(self, flags: int) -> int:
        return -1


@pytest.fixture(params=["inotify", "looking"])
def watch(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BellWatch]:
    if request.param == "looking":
        monkeypatch.setattr(bell_module, "_libc", NoInotify())
    watch = BellWatch(tmp_path / "bell")
    yield watch
    watch.close()


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    bell = Bell(tmp_path / "bell")
    yield bell
    bell.close()


def test_silent_bell_wakes_nobody(watch: BellWatch) -> None:
    assert not watch.wait(0)
    assert not watch.clear()


def test_ring_before_the_wait_is_not_lost(watch: BellWatch, bell: Bell) -> None:
    bell.ring()

    assert watch.wait(5)


def test_several_rings_are_one(watch: BellWatch, bell: Bell) -> None:
    for _ in range(10):
        bell.ring()

    assert watch.wait(5)
    assert not watch.wait(0)


def test_cleared_ring_is_forgotten(watch: BellWatch, bell: Bell) -> None:
    bell.ring()

    assert watch.clear()
    assert not watch.wait(0)


def test_ring_of_another_process_is_heard(watch: BellWatch, tmp_path: Path) -> None:
    path = str(tmp_path / "bell")
    code = f"import pathlib, sluicegate.eventlog.bell as bell; bell.Bell(pathlib.Path({path!r})).ring()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        assert watch.wait(30)

        assert process.wait(30) == 0


def test_every_watch_hears_the_ring(tmp_path: Path, bell: Bell) -> None:
    watches = [BellWatch(tmp_path / "bell") for _ in range(3)]

    bell.ring()

    assert [watch.wait(5) for watch in watches] == [True] * 3
    for watch in watches:
        watch.close()


def test_descriptor_is_readable_after_a_ring(tmp_path: Path, bell: Bell) -> None:
    watch = BellWatch(tmp_path / "bell")
    descriptor = watch.fileno()
    assert descriptor is not None

    bell.ring()

    assert select.select([descriptor], [], [], 5)[0] == [descriptor]
    assert not os.get_inheritable(descriptor)
    assert not os.get_blocking(descriptor)
    watch.close()


def test_missing_inotify_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bell_module, "_libc", NoInotify())

    watch = BellWatch(tmp_path / "bell")

    assert watch.fileno() is None
    assert len(caplog.records) == 1


def test_bell_tells_what_was_on_disk_when_it_was_rung(bell: Bell, tmp_path: Path) -> None:
    bell.ring(7)
    bell.ring(1_234_567_890_123)

    assert rung(tmp_path / "bell") == 1_234_567_890_123


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\x00" * 21])
def test_bell_that_was_never_rung_or_lost_its_content_tells_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bell").write_bytes(content)

    assert rung(tmp_path / "bell") == 0


def test_damaged_bell_tells_nothing(bell: Bell, tmp_path: Path) -> None:
    bell.ring(4_711)
    whole = (tmp_path / "bell").read_bytes()

    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            (tmp_path / "bell").write_bytes(damaged)
            assert rung(tmp_path / "bell") == 0, bytes(damaged)
    assert rung(tmp_path / "no bell") == 0

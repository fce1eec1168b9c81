from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.actors.logfile import LogFile
from sluicegate.masking import hidden, hide

SECRET = "the-token-of-a-vendor"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    return tmp_path / "data" / "logs" / "actors.log"


@pytest.fixture
def log(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    monkeypatch.setattr(hidden, "_longest_first", [])
    handler = LogFile(path)
    logger = logging.Logger("sluicegate.test")
    logger.addHandler(handler)
    yield logger
    with contextlib.suppress(OSError):
        handler.close()


def test_log_goes_on_in_a_new_folder_when_its_own_was_removed(log: logging.Logger, path: Path) -> None:
    log.warning("before")
    shutil.rmtree(path.parent)

    log.warning("after")

    assert "after" in path.read_text()
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_line_that_no_file_takes_stops_nobody_and_shows_no_secret(
    log: logging.Logger, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hide([SECRET])
    shutil.rmtree(path.parent.parent)

    log.warning("the vendor said %s", f"no to {SECRET}")

    told = capsys.readouterr().err
    assert "the vendor said no to ***" in told
    assert SECRET not in told


def test_line_that_a_full_disk_does_not_take_shows_no_secret(
    log: logging.Logger, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hide([SECRET])
    path.unlink()
    path.symlink_to("/dev/full")

    log.warning("the vendor said %s", f"no to {SECRET}")

    told = capsys.readouterr().err
    assert "the vendor said no to ***" in told
    assert SECRET not in told


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError(f"no text for {SECRET}")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args"), [("%d events", (SECRET,)), ("two: %s %s", (SECRET,)), ("%s", (Unspeakable(),))]
)
def test_line_with_a_mistake_in_it_is_written_and_shows_no_secret(
    log: logging.Logger, path: Path, capsys: pytest.CaptureFixture[str], message: str, args: tuple[object, ...]
) -> None:
    hide([SECRET])

    log.warning(message, *args)

    assert SECRET not in capsys.readouterr().err
    assert message in path.read_text()
    assert SECRET not in path.read_text()

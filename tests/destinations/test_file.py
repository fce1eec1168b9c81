from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.destinations.file import File
from sluicegate.errors import NotReady, Retry
from sluicegate.testing.destination_contract import make_batch, make_destination


def started(tmp_path: Path) -> Destination:
    destination = make_destination(File, tmp_path, path="out.jsonl")
    destination.initialize()
    return destination


def test_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    started(tmp_path).destroy()

    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    destination = make_destination(File, tmp_path / "data", path=str(tmp_path / "elsewhere.jsonl"))
    destination.initialize()
    destination.destroy()

    assert (tmp_path / "elsewhere.jsonl").exists()


def test_events_are_written_as_they_were_received(tmp_path: Path) -> None:
    destination = started(tmp_path)
    raw = b'{"b": 1.0,  "a":"\\u00e4"}'

    destination.deliver(make_batch(["m"], raws=[raw]))

    assert (tmp_path / "out.jsonl").read_bytes() == raw + b"\n"
    destination.destroy()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1}\n{"b":', b'{"a":1}\n'),
        (b'{"a":1}\n{"b":"' + b"x" * 100_000, b'{"a":1}\n'),
        (b'{"a":', b""),
        (b'{"a":1}\n{"b":2}', b'{"a":1}\n{"b":2}\n'),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b"", b""),
    ],
    ids=["torn", "torn and long", "all torn", "without its line end", "whole", "empty"],
)
def test_end_that_a_crash_left_is_repaired(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "out.jsonl").write_bytes(before)

    started(tmp_path).destroy()

    assert (tmp_path / "out.jsonl").read_bytes() == after


def test_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    destination = started(tmp_path)
    destination.deliver(make_batch(["m-1"], raws=[b"1"]))

    os.rename(tmp_path / "out.jsonl", tmp_path / "out.jsonl.1")
    destination.deliver(make_batch(["m-2"], raws=[b"2"]))

    assert (tmp_path / "out.jsonl.1").read_bytes() == b"1\n"
    assert (tmp_path / "out.jsonl").read_bytes() == b"2\n"
    destination.destroy()


def test_failed_write_leaves_no_part_of_the_batch_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = started(tmp_path)
    destination.deliver(make_batch(["m-1"], raws=[b"1"]))

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(Retry, match="No space left"):
            destination.deliver(make_batch(["m-2"], raws=[b"2"]))
    torn = (tmp_path / "out.jsonl").read_bytes()
    destination.deliver(make_batch(["m-2"], raws=[b"2"]))

    assert torn == b"1\n"
    assert (tmp_path / "out.jsonl").read_bytes() == b"1\n2\n"
    destination.destroy()


def test_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    destination = make_destination(File, tmp_path, path="folder")
    (tmp_path / "folder").mkdir()

    with pytest.raises(NotReady, match="folder cannot be opened"):
        destination.initialize()


def test_end_that_a_crash_of_another_process_left_is_repaired_before_the_next_events(tmp_path: Path) -> None:
    destination = started(tmp_path)
    destination.deliver(make_batch(["m-1"], raws=[b"1"]))
    with (tmp_path / "out.jsonl").open("ab") as theirs:
        theirs.write(b'{"b":')

    destination.deliver(make_batch(["m-2"], raws=[b"2"]))

    assert (tmp_path / "out.jsonl").read_bytes() == b"1\n2\n"
    destination.destroy()

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from sluicegate.destinations.console import MAX_LINE, Console, line_of
from sluicegate.testing.destination_contract import make_batch, make_destination, make_event


def test_line_shows_what_a_person_looks_for() -> None:
    line = line_of("log", make_event("m-1", total=9.5))

    assert line == ('2026-01-05T12:00:00.000Z log track Order Completed subject=visitor id=m-1 {"total":9.5}\n')


@pytest.mark.parametrize("raw", [b"[]", b"null", b"{", b"\xff"])
def test_what_is_no_event_still_makes_one_line(raw: bytes) -> None:
    assert line_of("log", raw).count("\n") == 1


def test_control_characters_never_reach_the_terminal() -> None:
    line = line_of("log", b'{"type":"track","event":"\\u001b[31mred\\n\\u0007"}')

    assert line[:-1].isprintable()


def test_long_line_is_cut() -> None:
    assert len(line_of("log", make_event("m-1", text="x" * 5_000))) <= MAX_LINE + 1


def test_without_a_path_lines_go_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = make_destination(Console, tmp_path, id="log")
    console.initialize()

    console.deliver(make_batch(["m-1", "m-2"]))

    assert capsys.readouterr().out.count("\n") == 2


def test_letters_that_the_standard_output_does_not_have_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    console = make_destination(Console, tmp_path)
    console.initialize()

    console.deliver(make_batch(["m-1"], raws=[make_event("m-1", name="ö and ż")]))

    stdout.seek(0)
    assert r"ö and \u017c" in stdout.read()

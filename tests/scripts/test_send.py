from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sluicegate.scripts.send as send_module
from sluicegate.actors.processes import processes
from sluicegate.errors import NotRunning, NotSent
from sluicegate.scripts.admin import main
from sluicegate.scripts.input import raw_events
from tests.end_to_end.harness import ARCHIVE, MakeSystem, System


@pytest.fixture
def running(system: MakeSystem) -> System:
    return system(ARCHIVE).start()


def archived(running: System, count: int) -> list[dict[str, Any]]:
    running.until_delivered("archive", count)
    lines = (running.data_dir.root / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_event_type_can_be_sent(running: System) -> None:
    commands = [
        ["Bought", "--property", "total=9.5", "--property", "note=x", "--message-id", "m-1"],
        ["--type", "identify", "--user-id", "u1", "--trait", 'address={"city": "Ulm"}', "--trait", "plan=pro"],
        ["Home", "--type", "page", "--property", "path=/"],
        ["--type", "screen"],
        ["acme", "--type", "group", "--user-id", "u1", "--trait", "size=7"],
        ["old-id", "--type", "alias", "--user-id", "u1"],
    ]

    answers = [running.admin("send", *command) for command in commands]

    assert [answer.returncode for answer in answers] == [0] * 6, [answer.stderr for answer in answers]
    events = archived(running, 6)
    assert [event["type"] for event in events] == ["track", "identify", "page", "screen", "group", "alias"]
    track, identify, page, _, group, alias = events
    assert (track["messageId"], track["properties"]) == ("m-1", {"total": 9.5, "note": "x"})
    assert identify["traits"] == {"address": {"city": "Ulm"}, "plan": "pro"}
    assert (page["name"], group["groupId"], group["traits"]) == ("Home", "acme", {"size": 7})
    assert (alias["previousId"], alias["userId"]) == ("old-id", "u1")


@pytest.mark.parametrize(
    ("command", "about"),
    [
        ([], "track needs a NAME"),
        (["x", "--type", "identify"], "identify has no NAME"),
        (["--type", "group"], "group needs a NAME"),
        (["x", "--type", "alias"], "--user-id"),
        (["x", "--trait", "a=1"], "track has no --trait"),
        (["--type", "identify", "--property", "a=1"], "identify has no --property"),
        (["x", "--property", "a"], "NAME=VALUE"),
        (["x", "--file", "-"], "--file"),
        (["--user-id", "u", "--file", "-"], "--file"),
    ],
)
def test_what_does_not_fit_the_type_is_wrong_usage(command: list[str], about: str) -> None:
    answer = CliRunner().invoke(main, ["send", *command], input="{}")

    assert answer.exit_code == 2
    assert about in answer.stderr


@pytest.mark.parametrize(
    ("option", "about"),
    [("--user-id", "neither userId"), ("--anonymous-id", "neither userId"), ("--message-id", "messageId")],
)
def test_id_of_a_variable_that_is_empty_is_not_replaced_by_another(running: System, option: str, about: str) -> None:
    told = running.admin("send", "Bought", option, "")

    assert told.returncode == 1
    assert about in told.stderr


def test_events_of_a_file_are_sent_and_judged_one_by_one(running: System) -> None:
    events = [
        {"type": "track", "event": "A", "userId": "u", "messageId": "m-a"},
        {"type": "no-such-type", "userId": "u", "messageId": "m-b"},
        {"type": "page", "userId": "u", "messageId": "m-c"},
    ]
    lines = "\n".join(json.dumps(event) for event in events)

    told = fed(running, lines, "--json")
    again = fed(running, lines)

    assert (told.returncode, again.returncode) == (1, 1)
    found = json.loads(told.stdout)
    assert found["accepted"] == 2
    assert [(one["index"], one["messageId"]) for one in found["rejected"]] == [(1, "m-b")]
    assert json.loads(told.stderr)["error"] == "1 of 3 were refused"
    assert "event 1 (m-b): " in again.stdout and "stored: 2 of 3" in again.stdout
    assert [event["messageId"] for event in archived(running, 2)] == ["m-a", "m-c"]


def test_id_of_a_refused_event_does_not_command_the_terminal(running: System) -> None:
    told = fed(running, json.dumps({"type": "no-such-type", "userId": "u", "messageId": "\x1b]0;owned\x07"}))

    assert "event 0 (\\x1b]0;owned\\x07): " in told.stdout


def fed(running: System, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    environ = {**running.environ, "SLUICEGATE_CONFIG": str(running.config_path)}
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "send", "--file", "-", *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=environ)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b'{"type": "track"}', 1),
        (b'{"type": "track"}\n\n{"type": "page"}\n', 2),
        (b' [{"type": "track"}, {"type": "page"}]', 2),
        (b'{"batch": [{"type": "track"}], "sentAt": 1}', 1),
        (b'{"batch": 5, "type": "track"}', 1),
        (b"", 0),
    ],
)
def test_input_may_have_any_form_in_which_people_have_events(text: bytes, count: int) -> None:
    assert len(raw_events(text)) == count


def test_events_are_taken_byte_for_byte() -> None:
    assert raw_events(b'[ {"a": 1.0, "a":2} ]') == [b'{"a": 1.0, "a":2}']


def test_input_that_is_too_large_is_refused_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.scripts.input.MAX_INPUT_BYTES", 20)

    answer = CliRunner().invoke(main, ["send", "--file", "-"], input='{"type": "track"}\n{"type": "track"}\n')

    assert answer.exit_code == 2
    assert "split it" in answer.stderr


def test_system_that_hangs_is_told_from_one_that_does_not_run(running: System) -> None:
    (router,) = [p.pid for p in processes() if b"sluicegate: router" in title(p.pid) and below(p.pid, running.pid)]
    os.kill(router, signal.SIGSTOP)
    try:
        answer = running.admin("send", "Hi", "--message-id", "m-1", "--json")
    finally:
        os.kill(router, signal.SIGCONT)

    assert answer.returncode == 3
    error = json.loads(answer.stderr)["error"]
    assert "hangs" in error and "--message-id m-1" in error and "flush()" not in error


def title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def below(pid: int, ancestor: int) -> bool:
    parents = {process.pid: process.parent for process in processes()}
    while pid in parents and pid != ancestor:
        pid = parents[pid]
    return pid == ancestor


def test_system_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []

    class Hanging:
        def track(self, **fields: Any) -> None: ...

        def flush(self) -> None:
            waits.append("flush")
            raise NotRunning("no answer")

        def close(self, *, flush: bool = True) -> None:
            if flush:
                self.flush()

    monkeypatch.setattr(send_module, "connect", lambda *_: Hanging())

    answer = CliRunner().invoke(main, ["send", "Hi"])

    assert (answer.exit_code, waits) == (3, ["flush"])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["Hi", "--message-id", "m-1"], "this is not stored; send it again with --message-id m-1"),
        (["--file", "-"], "not all of this is stored; send the same again"),
    ],
)
def test_what_was_never_sent_is_not_in_doubt(command: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Restarting:
        def track(self, **fields: Any) -> None: ...

        def add(self, event: bytes) -> None: ...

        def flush(self) -> None:
            raise NotSent("the router is not running now")

        def close(self, *, flush: bool = True) -> None: ...

    monkeypatch.setattr(send_module, "connect", lambda *_: Restarting())

    answer = CliRunner().invoke(main, ["send", *command], input='{"type": "track"}')

    assert answer.exit_code == 3
    assert told in answer.stderr and "nobody knows" not in answer.stderr


def test_client_that_finds_no_router_has_sent_nothing(running: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.client.ROUTER", "sluicegate.nobody")
    client = running.client
    client.track("Hi", user_id="u")

    with pytest.raises(NotSent, match="not running now"):
        client.flush()

    monkeypatch.undo()
    assert client.flush() == []


def told(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=given)


@pytest.mark.parametrize("command", ["send --file -", "simulate archive"])
def test_input_that_is_nested_beyond_reading_is_wrong_usage(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sluicegate.toml").write_text(f'[gateway]\nwrite_keys = {{ web = "a-write-key" }}\n{ARCHIVE}')

    answer = told(*command.split(), given=b"[" * 200_000)

    assert answer.exit_code == 2, answer.exception
    assert "nested too deeply" in answer.stderr


def test_input_may_begin_with_a_byte_order_mark() -> None:
    assert raw_events(b'\xef\xbb\xbf{"type": "track"}\n{"type": "page"}') == [b'{"type": "track"}', b'{"type": "page"}']


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[" * 5_000, "1" * 5_000])
def test_value_that_is_not_json_is_a_text(text: str) -> None:
    assert send_module._pair(f"size={text}") == ("size", text)

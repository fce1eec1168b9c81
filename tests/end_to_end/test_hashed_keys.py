from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.harness import ARCHIVE, System, track

KEY = "f3v9-Qk2mXw7_LpRz4TnBc81"
HASH = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
REGULATION_KEY = "q8Zr-2LkVn5sYw_7HdXe1Tgb"
REGULATION_HASH = f"sha256:{hashlib.sha256(REGULATION_KEY.encode()).hexdigest()}"


@pytest.fixture
def running(system: Callable[..., System]) -> System:
    one = system(ARCHIVE)
    keys = f'{{ web = "{HASH}" }}\nregulation_keys = {{ privacy = "{REGULATION_HASH}" }}'
    text = one.config_path.read_text().replace('{ web = "a-write-key" }', keys)
    one.config_path.write_text(text)
    assert KEY not in text
    return one.start()


def ways(key: str) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Each way to say a key: query, headers, members of the body."""
    basic = base64.b64encode(f"{key}:".encode()).decode()
    return [
        ("", {"Authorization": f"Basic {basic}"}, {}),
        ("", {"Authorization": f"Bearer {key}"}, {}),
        ("", {"X-Write-Key": key}, {}),
        (f"?writeKey={key}", {}, {}),
        ("", {}, {"writeKey": key}),
    ]


def statuses(system: System, key: str) -> list[int]:
    found = []
    for query, headers, members in ways(key):
        body = json.dumps(track() | members).encode()
        found.append(system.request("POST", f"/v1/track{query}", body, headers)[0])
    return found


def hash_key(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "hash-key", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


def test_key_whose_hash_is_configured_is_accepted_and_the_hash_is_not(running: System) -> None:
    accepted = statuses(running, KEY)
    by_hash = statuses(running, HASH)
    by_digits = statuses(running, HASH.removeprefix("sha256:"))
    running.until_delivered("archive", len(accepted))
    running.stop()

    assert set(accepted) == {200}
    assert set(by_hash) == set(by_digits) == {401}
    files = [path.read_bytes() for path in running.data_dir.root.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in [*files, running.log().encode()])


def test_regulation_key_may_be_hashed_too(running: System) -> None:
    body = b'{"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["u-1"]}'

    answers = {
        key: running.request("POST", "/v1/regulations", body, {"Authorization": f"Bearer {key}"})[0]
        for key in (REGULATION_KEY, REGULATION_HASH, KEY)
    }

    assert answers[REGULATION_KEY] not in (401, 403), answers
    assert answers[REGULATION_HASH] == answers[KEY] == 401


def test_command_makes_a_key_and_the_hash_that_takes_it(system: Callable[..., System]) -> None:
    made = json.loads(hash_key("--json").stdout)
    again = json.loads(hash_key("--json", "--stdin", given=f"{made['key']}\n").stdout)
    one = system(ARCHIVE)
    one.config_path.write_text(one.config_path.read_text().replace("a-write-key", made["hash"]))
    one.start()

    assert again == {"hash": made["hash"]}
    assert set(statuses(one, made["key"])) == {200}


def test_command_prints_what_to_do_with_both() -> None:
    done = hash_key()

    assert "shown once" in done.stdout
    assert 'write_keys or regulation_keys: "sha256:' in done.stdout


@pytest.mark.parametrize(
    ("given", "reason"),
    [("", "is empty"), ("short", "fewer than 8"), ("a-write-key", "fewer than 22"), ("with a space, and long", "HTTP")],
)
def test_command_hashes_no_key_that_could_be_guessed_or_sent_by_nobody(given: str, reason: str) -> None:
    done = hash_key("--stdin", given=given)

    assert done.returncode == 1
    assert reason in done.stderr
    assert "sha256" not in done.stdout


def test_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe and more than 22 bytes")
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "hash-key", "--stdin"]

    with (tmp_path / "key").open("rb") as given:
        done = subprocess.run(command, stdin=given, env=environ, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "the key has characters that HTTP user names cannot have" in done.stderr

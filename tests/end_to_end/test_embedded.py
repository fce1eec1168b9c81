from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

from sluicegate.errors import NotRunning
from sluicegate.paths import DataDir
from sluicegate.running import Running, find_running
from tests.end_to_end.harness import poll


def test_serve_without_configuration_writes_a_file_and_prints_its_key_once(tmp_path: Path) -> None:
    first, printed_first = run_and_send(tmp_path)
    second, printed_second = run_and_send(tmp_path)

    assert first in printed_first
    assert first == second
    assert first not in printed_second
    assert len((tmp_path / "data" / "events.jsonl").read_text().splitlines()) == 2


def run_and_send(folder: Path) -> tuple[str, str]:
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--listen", "127.0.0.1:0"]
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder)
    try:
        running = poll("serve to be ready", lambda: find(folder / "data"))
        key = (folder / "data" / "write-key").read_text().strip()
        send(running.gateway, key)
        poll("the file to have it", lambda: has_new_line(folder))
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
    assert code == 0, output.read_text()
    return key, output.read_text()


def find(data_dir: Path) -> Running | None:
    try:
        return find_running(DataDir(data_dir))
    except NotRunning:
        return None


def send(gateway: str, key: str) -> None:
    connection = http.client.HTTPConnection(gateway, timeout=30)
    token = base64.b64encode(f"{key}:".encode()).decode()
    event = json.dumps({"event": "Hello", "anonymousId": "me"})
    connection.request("POST", "/v1/track", event, {"Authorization": f"Basic {token}"})
    assert connection.getresponse().status == 200
    connection.close()


def has_new_line(folder: Path) -> bool:
    path = folder / "data" / "events.jsonl"
    count = len(path.read_text().splitlines()) if path.exists() else 0
    seen = folder / "seen"
    before = int(seen.read_text()) if seen.exists() else 0
    if count > before:
        seen.write_text(str(count))
    return count > before

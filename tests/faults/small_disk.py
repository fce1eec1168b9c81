"""A small file system of one's own: a tmpfs in a user and mount namespace, and a program that runs on it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.eventlog.sqlite import SqliteLog
from tests.gateway.harness import Answered, RunningGateway, make_config

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
SIZE = 64 * 1024 * 1024
EVENTS = 16
BALLAST = 24 * 1024 * 1024


def noise(n_chars: int) -> str:
    """A text that cannot be compressed much."""
    return base64.b64encode(os.urandom(n_chars * 3 // 4)).decode()


def run_on_small_disk(folder: Path, module: str) -> dict[str, Any]:
    """What `module` prints as JSON when it is started with the path of a tmpfs; skips where that is not allowed."""
    possible = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True)
    if possible.returncode:
        pytest.skip(f"no user and mount namespaces here: {possible.stderr.strip()}")
    script = f'mount -t tmpfs -o size={SIZE} tmpfs "$1" && exec "$2" -m "$3" "$1"'
    command = [*NAMESPACE, "sh", "-c", script, "sh", str(folder), sys.executable, module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class SmallDisk:
    """A gateway whose data lies on the small disk, next to a ballast that takes half of it."""

    def __init__(self, folder: Path, log: LogConfig) -> None:
        self._ballast = folder / "ballast"
        self._ballast.write_bytes(bytes(BALLAST))
        self.gateway = RunningGateway(make_config(folder, log=log))
        self._client = self.gateway.client()
        self._n_posted = 0
        self.n_taken = 0

    def post(self) -> Answered:
        """Post a batch of 480 KB, and count it if it was taken."""
        ids = [f"{self._n_posted}-{index}" for index in range(EVENTS)]
        self._n_posted += 1
        events = [
            {"type": "track", "event": "e", "userId": "u", "messageId": one, "properties": {"p": noise(30_000)}}
            for one in ids
        ]
        answer = self._client.post("/v1/batch", {"batch": events})
        self.n_taken += answer.status == 200
        return answer

    def ready(self) -> Answered:
        """What `/ready` says."""
        return self._client.get("/ready")

    def free(self) -> None:
        """Remove the ballast."""
        os.unlink(self._ballast)

    def close(self) -> dict[str, Any]:
        """End the gateway; what is stored."""
        n_stored = len(self.gateway.stored())
        self._client.close()
        self.gateway.close()
        log = SqliteLog(self.gateway.config.data_dir / "events.db")
        check = log._db.pragma("integrity_check")
        log.close()
        return {"stored": n_stored, "taken": EVENTS * self.n_taken, "check": check, "fatal": self.gateway.fatal.empty()}

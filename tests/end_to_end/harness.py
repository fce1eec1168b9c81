"""A real system in a directory of its own, driven from outside as a user would."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from sluicegate.actors.processes import processes, tree
from sluicegate.client import Client
from sluicegate.errors import NotRunning
from sluicegate.messages.status import DestinationStatus
from sluicegate.paths import DataDir
from sluicegate.running import Running, find_running

WRITE_KEY = "a-write-key"
PATIENCE_S = 30.0

HEAD = """\
data_dir = "{data_dir}"
[network]
allow = ["127.0.0.1"]
[gateway]
listen = "127.0.0.1:0"
write_keys = {{ web = "a-write-key" }}
"""

ARCHIVE = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
"""
CRM = """
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "{url}"
"""
ADS = """
[destinations.ads]
type = "null"
requires = ["marketing"]
"""

ACCOUNTS = ("delivered", "pending", "held", "dead", "denied", "expired")


def poll(what: str, holds: Callable[[], Any], *, timeout_s: float = PATIENCE_S) -> Any:
    """The first true value that `holds` returns; fails the test when none comes."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s:.0f} s in vain for: {what}")


def track(number: int = 0, *, consent: Mapping[str, bool] | None = None, subject: str = "s") -> dict[str, Any]:
    """A track event with an id of its own."""
    event: dict[str, Any] = {
        "type": "track",
        "event": "Tested",
        "messageId": str(uuid4()),
        "anonymousId": subject,
        "properties": {"number": number},
    }
    if consent is not None:
        event["context"] = {"consent": {"categoryPreferences": dict(consent)}}
    return event


class System:
    """`sluicegate serve` on a configuration below `folder`; start, kill and start it again as often as needed.

    `wrapper` is a command that runs another one in its own process, such as prlimit; `program` is what
    Python runs as the `sluicegate` command when it starts.
    """

    def __init__(
        self,
        folder: Path,
        destinations: str,
        *,
        environ: Mapping[str, str] | None = None,
        head: str = HEAD,
        wrapper: Sequence[str] = (),
        program: Sequence[str] = ("-m", "sluicegate.scripts.admin"),
    ) -> None:
        self.folder = folder
        self.data_dir = DataDir(folder / "data")
        self.config_path = folder / "sluicegate.toml"
        self.config_path.write_text(head.format(data_dir=self.data_dir.root) + destinations)
        self.environ = {**os.environ, **(environ or {})}
        self.wrapper = wrapper
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> System:
        """Start it and wait until it is ready."""
        serve = [sys.executable, *self.program, "serve", "--config", str(self.config_path)]
        command = [*self.wrapper, *serve]
        with (self.folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environ, cwd=self.folder
            )
        poll("the system to be ready", self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"serve ended:\n{self.log()}"
        try:
            return find_running(self.data_dir).pid == self._process.pid
        except NotRunning:
            return False

    @property
    def pid(self) -> int:
        """Of the launcher."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> Running:
        """What it listens on."""
        return find_running(self.data_dir)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL of the launcher; the whole tree goes with it."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self.detach()
        self._process.send_signal(number)
        return self._process.wait(timeout=PATIENCE_S)

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._process is not None
        self.detach()
        self._process.terminate()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Until it ends by itself; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout=timeout_s)

    def close(self) -> None:
        """Kill it, whatever state it is in, and wait until nothing of it is left."""
        self.detach()
        if self._process is None or self._process.poll() is not None:
            return
        ours = {p.pid for p in tree(self._process.pid)}
        self._process.kill()
        self._process.wait()
        poll("its processes to end", lambda: ours.isdisjoint(p.pid for p in processes() if not p.zombie))

    def log(self) -> str:
        """What serve and the actors have logged."""
        texts = [
            path.read_text(errors="replace") for path in (self.folder / "serve.log", *self.data_dir.logs.glob("*"))
        ]
        return "\n".join(texts)

    # -- use --------------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One HTTP request to the gateway."""
        connection = http.client.HTTPConnection(self.running.gateway, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, events: Iterable[Mapping[str, Any]], **top_level: Any) -> dict[str, Any]:
        """Post a batch that must be answered with 200; the answer."""
        token = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        body = json.dumps({"batch": list(events), **top_level}).encode()
        status, answer = self.request("POST", "/v1/batch", body, {"Authorization": f"Basic {token}"})
        assert status == 200, answer
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    @property
    def client(self) -> Client:
        """A client that is attached for the whole test."""
        if self._client is None:
            self._client = Client(self.data_dir.root, source="test")
        return self._client

    def detach(self) -> None:
        """Let go of the actor system."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def statuses(self) -> dict[str, DestinationStatus]:
        """All destinations by id; every account balances, always."""
        found = {one.id: one for one in self.client.status()}
        for one in found.values():
            assert one.accepted == sum(getattr(one, name) for name in ACCOUNTS), one
        return found

    def status(self, name: str) -> DestinationStatus:
        """One destination."""
        return self.statuses()[name]

    def until(self, name: str, what: str, holds: Callable[[DestinationStatus], bool]) -> DestinationStatus:
        """The status of a destination once it is as wanted."""

        def look() -> DestinationStatus | None:
            try:
                one = self.status(name)
            except NotRunning:
                self.detach()
                return None
            return one if holds(one) else None

        try:
            found: DestinationStatus = poll(f"{name} to be {what}", look)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.statuses()}\n{self.log()[-5000:]}") from None
        return found

    def until_delivered(self, name: str, count: int) -> DestinationStatus:
        """Its status once it has delivered so many and nothing waits."""
        return self.until(name, f"done with {count}", lambda s: s.delivered == count and s.pending == 0)

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `sluicegate` command on this system."""
        command = [sys.executable, "-m", "sluicegate.scripts.admin", *arguments]
        environ = {**self.environ, "SLUICEGATE_CONFIG": str(self.config_path), "COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, cwd=self.folder)


MakeSystem = Callable[..., System]
"""The fixture `system`: a system with these destinations, as TOML, that is yet to be started."""

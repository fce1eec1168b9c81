"""The `demo` command: the real system, shown working in under a minute."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import click

from sluicegate.client import Client
from sluicegate.errors import SluicegateError
from sluicegate.messages.status import DestinationStatus, Statuses
from sluicegate.paths import DataDir
from sluicegate.running import Running, find_running
from sluicegate.scripts.demo_receiver import Receiver
from sluicegate.scripts.demo_view import View
from sluicegate.scripts.status import ask_status
from sluicegate.scripts.tables import plain_line, unbalanced

WRITE_KEY = "demo-write-key"
STEP_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.1
BATCH = 50

CONFIG = """\
data_dir = "{data_dir}"
[network]
allow = ["127.0.0.1"]
[gateway]
listen = "127.0.0.1:0"
write_keys = {{ demo = "{write_key}" }}
[supervisor]
idle_ttl = "2s"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "{url}"
[destinations.screen]
type = "console"
requires = {{ all = ["measurement", "functionality"] }}
[destinations.ads]
type = "null"
requires = ["marketing"]
"""


class DemoFailed(SluicegateError):
    """The demo did not see what it promised to show."""


@click.command()
@click.option("--keep", is_flag=True, help="Leave the system running at the end and print how to send an event.")
def demo(keep: bool) -> None:
    """Show the real system at work: lazy starts, a kill, an idle stop, and accounts that balance."""
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-demo-"))
    receiver = Receiver()
    system = _System(folder, receiver.url)
    try:
        with View() as view:
            Story(system, receiver, view).tell()
        if keep:
            _keep(system)
    finally:
        system.stop()
        receiver.close()
    shutil.rmtree(folder)  # after a failure it stays, with the logs


class _System:
    """`sluicegate serve` as a process of its own, with its log in a file."""

    def __init__(self, folder: Path, url: str) -> None:
        self.data_dir = DataDir(folder / "data")
        self.config_path = folder / "sluicegate.toml"
        self.log_path = folder / "serve.log"
        self.config_path.write_text(CONFIG.format(data_dir=self.data_dir.root, write_key=WRITE_KEY, url=url))
        command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--config", str(self.config_path)]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running = self._wait_ready()

    def _wait_ready(self) -> Running:
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                return find_running(self.data_dir)
            except SluicegateError:
                time.sleep(0.02)
        raise DemoFailed(f"the system did not start:\n{self.log_path.read_text()}")

    def wait(self) -> None:
        """Until it is stopped from outside."""
        wait_for_end(self._process)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)


class Story:
    """What happens, in order; every step waits for what it announces and fails when it does not come."""

    def __init__(self, system: _System, receiver: Receiver, view: View) -> None:
        self._system = system
        self._receiver = receiver
        self._view = view
        self._sent = 0
        self._client = Client(system.data_dir.root)

    def tell(self) -> None:
        """Run the whole demo; raises `DemoFailed` when it does not show what it promises."""
        self._nothing_is_loaded()
        self._first_events()
        self._a_kill()
        self._idle_and_awake()
        self._balance()
        self._client.close()

    def _nothing_is_loaded(self) -> None:
        self._view.say(f"Sluicegate runs on http://{self._system.running.gateway}; four destinations, none loaded")
        self._until("all are registered", lambda s: all(d.state == "registered" for d in s.destinations))

    def _first_events(self) -> None:
        self._view.say("100 events of people who agreed to nothing: only the archive may have them")
        self._send(100, {})
        self._until("the archive has them", _settled("archive", 100))
        self._view.say("100 events with consent to measurement: the CRM webhook starts with the first of them")
        self._send(100, {"measurement": True, "marketing": False})
        self._until("the CRM has them", _settled("crm", 100))
        self._view.say(
            "100 events with measurement and functionality: the console starts; ads stays unloaded, nobody agreed"
        )
        self._send(100, {"measurement": True, "functionality": True})
        self._until("the console has them", _settled("screen", 100))

    def _a_kill(self) -> None:
        pid, epoch = self._one("crm").pid, self._one("crm").epoch
        self._view.say(f"kill -9 of the CRM's process ({pid}) while 200 more events arrive")
        self._send(50, {"measurement": True})
        if pid:
            os.kill(pid, signal.SIGKILL)
        self._send(150, {"measurement": True})
        self._until(
            "the CRM is back and has them all", lambda s: _settled("crm", 400)(s) and _get(s, "crm").epoch > epoch
        )
        self._view.say(f"it is back with epoch {self._one('crm').epoch}, and nothing is missing")

    def _idle_and_awake(self) -> None:
        self._view.say("nothing arrives for two seconds: destinations fall idle and stop")
        self._until("the CRM has stopped", lambda s: _get(s, "crm").state == "registered")
        self._view.say("one more event wakes it")
        self._send(1, {"measurement": True})
        self._until("the CRM has it", lambda s: _settled("crm", 401)(s) and _get(s, "crm").loaded)

    def _balance(self) -> None:
        self._view.say("the balance: accepted = delivered + pending + held + dead + denied + expired")
        statuses = self._until("nothing is pending", lambda s: all(d.pending == 0 for d in s.destinations))
        for one in statuses.destinations:
            self._view.say(plain_line(one))
        received, again = self._receiver.counts()
        self._view.say(
            f"the receiver got {received} different events, and {again} again after the kill (at least once)"
        )
        wrong = unbalanced(statuses.destinations)
        wrong += [
            f"{d.id}: accepted {d.accepted} of {self._sent}" for d in statuses.destinations if d.accepted != self._sent
        ]
        if received != _get(statuses, "crm").delivered:
            wrong.append(f"crm: delivered {_get(statuses, 'crm').delivered}, the receiver got {received}")
        if _get(statuses, "ads").last_attempt is not None:
            wrong.append("ads: was started although nobody agreed to marketing")
        if wrong:
            raise DemoFailed("the accounts do not balance: " + "; ".join(wrong))
        self._view.say(f"balanced: {self._sent} events, every one accounted for at every destination")

    # -- steps ------------------------------------------------------------------------------------------------------

    def _send(self, count: int, consent: dict[str, bool]) -> None:
        for start in range(0, count, BATCH):
            post_events(self._system.running.gateway, min(BATCH, count - start), consent)
        self._sent += count

    def _until(self, what: str, holds: Callable[[Statuses], bool]) -> Statuses:
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while True:
            statuses = ask_status(self._client)
            self._view.show(statuses)
            if holds(statuses):
                self._view.pause()
                return statuses
            if time.monotonic() > deadline:
                lines = "\n".join(map(plain_line, statuses.destinations))
                raise DemoFailed(f"waited {STEP_TIMEOUT_S:.0f} s in vain until {what}:\n{lines}")
            time.sleep(0.05)

    def _one(self, name: str) -> DestinationStatus:
        return _get(ask_status(self._client), name)


def _get(statuses: Statuses, name: str) -> DestinationStatus:
    return next(d for d in statuses.destinations if d.id == name)


def _settled(name: str, delivered: int) -> Callable[[Statuses], bool]:
    def holds(statuses: Statuses) -> bool:
        one = _get(statuses, name)
        return one.delivered >= delivered and one.pending == 0

    return holds


def post_events(gateway: str, count: int, consent: dict[str, bool]) -> None:
    """Post a Segment batch of `count` track events that carry this consent."""
    batch = [
        {
            "type": "track",
            "event": "Page Viewed",
            "messageId": str(uuid4()),
            "anonymousId": f"visitor-{number % 7}",
            "properties": {"number": number},
            "context": {"consent": {"categoryPreferences": consent}},
        }
        for number in range(count)
    ]
    token = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    connection = http.client.HTTPConnection(gateway, timeout=10)
    try:
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/batch", json.dumps({"batch": batch}), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200 or json.loads(body)["accepted"] != count:
        raise DemoFailed(f"the gateway answered {response.status}: {body.decode(errors='replace')}")


def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process ends, or Ctrl-C raises `KeyboardInterrupt`.

    It looks instead of waiting without end: a signal that another thread takes, or that comes just before the call,
    does not interrupt `waitpid`.
    """
    while process.poll() is None:
        time.sleep(LOOK_EVERY_S)


def _keep(system: _System) -> None:
    event = '{"event":"Hello","anonymousId":"me","context":{"consent":{"categoryPreferences":{"measurement":true}}}}'
    click.echo(f"\nrunning until Ctrl-C; send an event with:\n\n  curl -u {WRITE_KEY}: -d '{event}' \\")
    click.echo(f"       http://{system.running.gateway}/v1/track\n")
    click.echo(f"and look at it with:\n\n  sluicegate status --data-dir {system.data_dir.root}")
    try:
        system.wait()
    except KeyboardInterrupt:
        click.echo("stopping")

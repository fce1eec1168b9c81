"""The `demo` command: the real system, shown working in under a minute."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from sluicegate.bench.processes import spawn
from sluicegate.errors import SluicegateError
from sluicegate.paths import DataDir
from sluicegate.running import Running, find_running
from sluicegate.scripts.demo_receiver import Receiver
from sluicegate.scripts.demo_story import STEP_TIMEOUT_S, DemoFailed, Story
from sluicegate.scripts.demo_view import View
from sluicegate.scripts.demo_visitors import Entrance
from sluicegate.scripts.interrupts import Interrupts

WRITE_KEY = "demo-write-key"
LOOK_EVERY_S = 0.1
STOP_S = 30.0

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


@click.command()
@click.option("--keep", is_flag=True, help="Leave the system running at the end and print how to send an event.")
def demo(keep: bool) -> None:
    """Show the real system at work: lazy starts, consent, a kill, an idle stop, and accounts that balance."""
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-demo-"))
    try:
        with Interrupts() as interrupts:
            _run(folder, keep=keep, check=interrupts.check)
    except DemoFailed as error:
        raise DemoFailed(f"{error}\nwhat it logged is in {folder}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _run(folder: Path, *, keep: bool, check: Callable[[], None]) -> None:
    receiver = Receiver()
    system = None
    try:
        system = _System(folder, receiver.url)
        entrance = Entrance(system.wait_ready().gateway, WRITE_KEY)
        with View() as view:
            Story(system.data_dir, entrance, receiver, view).tell()
        if keep:
            _keep(system, check)
    finally:
        if system is not None:
            system.stop()
        receiver.close()


class _System:
    """`sluicegate serve` as a process of its own, with its log in a file; it ends when this process does."""

    def __init__(self, folder: Path, url: str) -> None:
        self.data_dir = DataDir(folder / "data")
        self.log_path = folder / "serve.log"
        config_path = folder / "sluicegate.toml"
        config_path.write_text(CONFIG.format(data_dir=self.data_dir.root, write_key=WRITE_KEY, url=url))
        command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--config", str(config_path)]
        with self.log_path.open("wb") as log:
            self.process = spawn(command, output=log, piped_input=False)

    def wait_ready(self) -> Running:
        """What it listens on, once it does."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return find_running(self.data_dir)
            except SluicegateError:
                time.sleep(0.02)
        raise DemoFailed(f"the system did not start:\n{self.log_path.read_text()}")

    def stop(self) -> None:
        """SIGTERM, and wait for its end; SIGKILL when it does not come."""
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_S)
        except BaseException:  # impatience, or a second Ctrl-C
            self.process.kill()
            self.process.wait()
            raise


def wait_for_end(process: subprocess.Popen[bytes], check: Callable[[], None] = lambda: None) -> None:
    """Wait until a process ends, or Ctrl-C raises `KeyboardInterrupt`.

    It looks instead of waiting without end: a signal that another thread takes, or that comes just before the call,
    does not interrupt `waitpid`.
    """
    while process.poll() is None:
        check()
        time.sleep(LOOK_EVERY_S)


def _keep(system: _System, check: Callable[[], None]) -> None:
    gateway = find_running(system.data_dir).gateway
    event = '{"event":"Hello","anonymousId":"me","context":{"consent":{"categoryPreferences":{"measurement":true}}}}'
    click.echo(f"\nrunning until Ctrl-C; send an event with:\n\n  curl -u {WRITE_KEY}: -d '{event}' \\")
    click.echo(f"       http://{gateway}/v1/track\n")
    click.echo(f"and look at it with:\n\n  sluicegate status --data-dir {system.data_dir.root}")
    try:
        wait_for_end(system.process, check)
    except KeyboardInterrupt:
        click.echo("stopping")

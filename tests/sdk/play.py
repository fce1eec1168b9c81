"""One SDK through one scenario, against a gateway process, and what came of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

from sluicegate.config.model import Config, LogConfig
from sluicegate.config.secret import Secret
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from tests.gateway.harness import make_config
from tests.gateway.process import GatewayProcess
from tests.sdk.browser import Browser, Shop, chromium
from tests.sdk.line import PATIENCE_S, Fault, Line

KEY = "web-write-key"
SCRIPTS = Path(__file__).parent / "peers"
PEERS = Path(__file__).parents[2] / ".peers" / "sdk"
MODULES = PEERS / "node_modules"
SCRIPT_TAG = MODULES / "@segment/analytics-next/dist/umd/standalone.js"
CONSENT = (("marketing", False), ("measurement", True))
N_EVENTS = 4


class Runner(Enum):
    """What an SDK runs in."""

    PYTHON = "Python"
    NODE = "Node.js"
    BROWSER = "Chromium"


@dataclass(frozen=True, slots=True)
class Sdk:
    """An SDK and the script that sends four events with it; `package` is where it is installed."""

    name: str
    runner: Runner
    script: str
    package: str
    retries: bool = True

    @property
    def version(self) -> str:
        """The one that is installed."""
        if self.runner is Runner.PYTHON:
            lines = (SCRIPTS / "requirements.txt").read_text().split()
            return next(line.partition("==")[2] for line in lines if line.startswith(self.package))
        text: str = json.loads((MODULES / self.package / "package.json").read_text())["version"]
        return text

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here; None if it can."""
        installed = "pip-installed" if self.runner is Runner.PYTHON else "npm-installed"
        if not (PEERS / installed).exists():
            return "the SDKs are not installed: run scripts/peers-sdk"
        if self.runner is Runner.NODE and shutil.which("node") is None:
            return "there is no node: install the Debian package nodejs"
        if self.runner is Runner.BROWSER and chromium() is None:
            return "there is no Chromium: install the Debian package chromium-headless-shell"
        return None


SDKS = (
    Sdk("segment-analytics-python", Runner.PYTHON, "segment_python.py", "segment-analytics-python"),
    Sdk("rudder-sdk-python", Runner.PYTHON, "rudder_python.py", "rudder-sdk-python"),
    Sdk("@segment/analytics-node", Runner.NODE, "segment_node.js", "@segment/analytics-node"),
    Sdk("@rudderstack/rudder-sdk-node", Runner.NODE, "rudder_node.js", "@rudderstack/rudder-sdk-node"),
    Sdk("@jitsu/js", Runner.NODE, "jitsu_node.js", "@jitsu/js", retries=False),
    Sdk("@segment/analytics-next", Runner.BROWSER, "segment_next.html", "@segment/analytics-next"),
    Sdk("analytics.js script tag", Runner.BROWSER, "segment_tag.html", "@segment/analytics-next"),
    Sdk("@rudderstack/analytics-js (bundled)", Runner.BROWSER, "rudder_js.html", "@rudderstack/analytics-js"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is in the event log of a run, and how it got there."""

    types: list[str]
    """Of the stored events, sorted."""
    stamps: set[tuple[tuple[str, bool], ...]]
    """The consent that was read from them."""
    statuses: list[int]
    """Answers to the requests with events, in order; 0 for a connection that was cut."""
    most_sent: int
    """How often the same message came at most."""
    paths: set[str]
    """Where the requests with events went."""


class Stage:
    """A gateway process, and what the SDKs need besides; `close` ends all of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        script = SCRIPT_TAG if SCRIPT_TAG.exists() else None
        keys = {"web": Secret(KEY)}
        self._config = make_config(folder, log=LogConfig(), write_keys=keys, analytics_js=script)
        self._gateway = self._start()
        self._browser: Browser | None = None

    def _start(self) -> GatewayProcess:
        gateway = GatewayProcess(self._config)
        assert "listening" in gateway.told()
        return gateway

    def _restart(self) -> None:
        self._gateway.close()
        self._gateway = self._start()

    def play(self, sdk: Sdk, fault: Fault, *, batched: bool = False) -> Outcome:
        """Let an SDK send its events while the line has this fault once; pages send `batched` if told so."""
        run = uuid4().hex
        line = Line(lambda: self._gateway.address, self._restart)
        line.fault = fault
        try:
            if sdk.runner is Runner.BROWSER:
                self._browse(sdk, line, run, batched=batched)
            else:
                _execute(sdk, line.url, run)
        finally:
            line.close()
        types, stamps = stored(self._config, run)
        return Outcome(types, stamps, line.statuses, max(line.messages.values(), default=0), line.paths)

    def _browse(self, sdk: Sdk, line: Line, run: str, *, batched: bool) -> None:
        self._browser = self._browser or Browser(self._folder / "chromium")
        shop = Shop(SCRIPTS, MODULES)
        query = urlencode({"url": line.url, "key": KEY, "run": run, "mode": "batched" if batched else ""})
        try:
            tab = self._browser.open(f"{shop.url}/{sdk.script}?{query}")
            line.wait_for(lambda: len(line.done) == N_EVENTS)
            self._browser.close_tab(tab)
        finally:
            shop.close()

    def close(self) -> None:
        """End every process."""
        if self._browser is not None:
            self._browser.close()
        self._gateway.close()


def _execute(sdk: Sdk, url: str, run: str) -> None:
    program = str(PEERS / "python/bin/python") if sdk.runner is Runner.PYTHON else "node"
    command = [program, str(SCRIPTS / sdk.script), url, KEY, run]
    # Node.js looks for packages beside the script and in NODE_PATH.
    done = subprocess.run(
        command, env={"NODE_PATH": str(MODULES)}, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
    )
    assert done.returncode == 0 or not sdk.retries, done.stderr


def stored(config: Config, run: str) -> tuple[list[str], set[tuple[tuple[str, bool], ...]]]:
    """The types of the events of a run, sorted, and the consent in them."""
    types, stamps = [], set()
    log = SqliteLog(DataDir(config.data_dir).event_log)
    try:
        for row in log.read(0, max_events=1_000_000, max_bytes=1 << 30):
            for number, event in zip(row.meta.combo_of, log.events(row), strict=True):
                if run.encode() in event:
                    types.append(row.meta.combos[number].type)
                    stamps.add(row.meta.combos[number].stamp)
    finally:
        log.close()
    return sorted(types), stamps

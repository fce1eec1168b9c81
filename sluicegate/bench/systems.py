"""The two programs that are compared: the straight line and the real system."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sluicegate.bench.errors import BenchError
from sluicegate.bench.events import PURPOSES, WRITE_KEY
from sluicegate.bench.processes import Helper, end, spawn

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PROGRAM = ("-m", "sluicegate.scripts.admin")
"""What Python runs: the `sluicegate` command."""


class System(Protocol):
    """Something that takes events on a loopback port; `pid` is the root of all its processes."""

    name: str
    pid: int
    port: int

    def stop(self) -> int:
        """End it; returns how many of its processes had to be killed after its end."""

    def explain(self) -> str:
        """What it has to say about itself when something went wrong."""


class Straight:
    """The straight line."""

    name = "straight"

    def __init__(self, folder: Path, hook_ports: list[int]) -> None:
        self._helper = Helper("straight")
        self.pid = self._helper.pid
        hooks = list(zip(PURPOSES, hook_ports, strict=True))
        self.port = int(self._helper.ask({"database": str(folder / "straight.db"), "hooks": hooks})["port"])

    def stop(self) -> int:
        """End it."""
        self._helper.stop()
        return 0

    def explain(self) -> str:
        """Nothing but that it runs."""
        return "it writes no log"


@dataclass(frozen=True, slots=True)
class Declared:
    """One destination of the configuration that the benchmark writes."""

    type: str
    purpose: str
    settings: Mapping[str, str | int]


class Sluicegate:
    """The real system, as `sluicegate serve` starts it, in a new data directory below `folder`."""

    name = "sluicegate"

    def __init__(
        self, folder: Path, destinations: Mapping[str, Declared], *, program: Sequence[str] = PROGRAM, more: str = ""
    ) -> None:
        """`more` is added to its configuration file."""
        folder.mkdir(parents=True)
        self.port = free_port()
        self._log = folder / "serve.log"
        config = folder / "bench.toml"
        config.write_text(toml(folder / "data", self.port, destinations) + more)
        command = [sys.executable, *program, "serve", "--config", str(config)]
        command += ["--data-dir", str(folder / "data"), "--listen", f"127.0.0.1:{self.port}"]
        with self._log.open("wb") as log:
            self._process = spawn(command, output=log, piped_input=False)
        self.pid = self._process.pid
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int:
        """End it; it has 30 s to drain."""
        return end(self._process, grace_s=STOP_TIMEOUT_S)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"`sluicegate serve` has ended with {self._process.returncode}:{self.explain()}")
            if _is_ready(self.port):
                return
            time.sleep(0.02)
        raise BenchError(f"`sluicegate serve` was not ready within {READY_TIMEOUT_S:.0f} s:{self.explain()}")

    def explain(self) -> str:
        """The end of its log."""
        return "\n" + "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


def hooks(ports: list[int], *, requires: str | None = None) -> dict[str, Declared]:
    """The three webhook destinations at these loopback ports, which need a purpose each, or all the same one."""
    return {
        f"hook-{purpose}": Declared("webhook", requires or purpose, {"url": f"http://127.0.0.1:{port}/hook"})
        for purpose, port in zip(PURPOSES, ports, strict=True)
    }


def toml(data_dir: Path, port: int, destinations: Mapping[str, Declared]) -> str:
    """The configuration file with these destinations."""
    lines = [
        f'data_dir = "{data_dir}"',
        "[network]",
        'allow = ["127.0.0.1"]',
        "[gateway]",
        f'listen = "127.0.0.1:{port}"',
    ]
    lines.append(f'write_keys = {{ bench = "{WRITE_KEY}" }}')
    for name, declared in destinations.items():
        lines += [f"[destinations.{name}]", f'type = "{declared.type}"', f'requires = ["{declared.purpose}"]']
        lines += [f"{key} = {json.dumps(value)}" for key, value in declared.settings.items()]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

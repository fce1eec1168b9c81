"""Under which conditions figures were measured; printed with them, since they mean nothing alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import apsw
import msgspec

from sluicegate.bench.events import USERS, Workload
from sluicegate.bench.measure import filesystem, fsync_ms

PACKAGES = ("sluicegate", "uvloop", "httptools", "msgspec")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Machine, versions and workload."""

    cores: int
    cpu: str
    kernel: str
    python: str
    versions: dict[str, str]
    filesystem: str
    fsync_ms: float
    load_average: float
    event_bytes: int
    properties: int
    users: int
    connections: int
    runs: int
    events: int

    def lines(self) -> Sequence[str]:
        """For people, a few facts to a line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.cores} cores ({self.cpu}), Linux {self.kernel}, load {self.load_average:.2f} before the first run",
            f"Python {self.python}, {versions}",
            f"data on {self.filesystem}, fdatasync of 52 KB takes {self.fsync_ms:.2f} ms",
            f"events of {self.event_bytes} B with {self.properties} properties from {self.users:,} users, half of them "
            f"without consent for the third of three webhook destinations",
            f"{self.connections} kept-alive connections; medians of {self.runs} runs; {self.events:,} events a run "
            "in batches, a tenth of that singly",
        )


def conditions(folder: Path, *, connections: int, runs: int, events: int) -> Conditions:
    """The conditions now, for data in this folder."""
    event = Workload("r00000000").event(0)
    return Conditions(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        kernel=platform.release(),
        python=platform.python_version(),
        versions={name: version(name) for name in PACKAGES} | {"SQLite": apsw.sqlite_lib_version()},
        filesystem=filesystem(folder),
        fsync_ms=fsync_ms(folder),
        load_average=os.getloadavg()[0],
        event_bytes=len(event),
        properties=len(msgspec.json.decode(event)["properties"]),
        users=USERS,
        connections=connections,
        runs=runs,
        events=events,
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()

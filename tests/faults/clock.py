"""F22: the system's clock jumps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from sluicegate.messages.status import DestinationStatus
from tests.faults import evidence
from tests.faults.record import Skip
from tests.faults.scenario import Run, fault

HOUR_S = 3_600


@fault("F22", "the clock jumps an hour ahead, an hour back, and to and fro by 5 s")
def clock_jumps(run: Run) -> None:
    clock = run.folder / "clock"
    set_clock(clock, 0)
    run.start(environ=faked_clock(run, clock))
    run.oracle.run()
    run.oracle.more(run.pick(60, 500))
    epochs = run.status("all to be loaded", loaded_epochs)
    for offset_s in (HOUR_S, -HOUR_S, *run.pick((5, -5), (5, -5) * 10)):
        set_clock(clock, offset_s)
        run.fired(f"clock at {offset_s:+d} s")
        run.oracle.more(run.pick(60, 300))
    set_clock(clock, 0)
    now = run.status("all to be loaded", loaded_epochs)
    run.settle()
    run.check()
    assert now == epochs, f"a jump of the clock ended destinations: {epochs}, then {now}"
    offsets = received_offsets_s(run)
    run.record.figures["receivedAt_from_s"], run.record.figures["receivedAt_to_s"] = min(offsets), max(offsets)
    assert min(offsets) < 60 - HOUR_S and max(offsets) > HOUR_S - 60, "vacuous: the system has not seen the clock jump"


def faked_clock(run: Run, clock: Path) -> dict[str, str]:
    """The environment in which the wall clock, and it alone, is off by what stands in a file."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skip("no C compiler for the library that moves the wall clock")
    library = run.folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(clock)}


def set_clock(clock: Path, offset_s: int) -> None:
    """Put the clock off by so much, in all processes at once: the file is in their memory."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(offset_s.to_bytes(8, sys.byteorder, signed=True))


def loaded_epochs(now: Mapping[str, DestinationStatus]) -> dict[str, int] | None:
    """The epoch of each destination once all are loaded."""
    return {name: one.epoch for name, one in now.items()} if all(one.loaded for one in now.values()) else None


def received_offsets_s(run: Run) -> list[float]:
    """By how much each event's `receivedAt` is off from when it was really sent, in seconds."""
    sent = {id_: entry["t"] for entry in run.oracle.entries() if entry["what"] == "sent" for id_ in entry["ids"]}
    offsets = []
    for one in evidence.read_lines(run.files["archive"]):
        received = datetime.fromisoformat(json.loads(one.additions)["receivedAt"]).timestamp()
        offsets.append(round(received - sent[one.id], 1))
    return offsets

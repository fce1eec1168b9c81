"""What the proof of decisions costs: microseconds an event on top of a commit, and bytes an event in the store.

    python benchmarks/decisions.py [--events 200000] [--commit 1000] [--apart-ms 1000]

Each case commits the same events to two stores, one with the decisions and one where they are left out of the
transaction, and reports the difference. A row is closed when it is a minute old, so `--apart-ms`, the time between two
commits on the wall clock of the decisions, says how many commits share one. `single` commits one event at a time.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from sluicegate.accounts import read_state, store_schema
from sluicegate.audit.chain import add_decisions
from sluicegate.audit.column import add_version
from sluicegate.audit.reading import check
from sluicegate.delivery.decided import decisions_of
from sluicegate.delivery.settlement import DEAD, DELIVERED, FIRST_REASON, Progress
from sluicegate.sqlite import connect, fetch, transaction

REASONS = ("consent_denied", "withdrawn", "event_type")
MIXED = (DELIVERED, DELIVERED, FIRST_REASON, FIRST_REASON + 1, FIRST_REASON + 2, DEAD)
Kind = Callable[[int, random.Random], int]
CASES: dict[str, tuple[Kind, int]] = {
    "all delivered": (lambda at, chance: DELIVERED, 0),
    "every second denied": (lambda at, chance: FIRST_REASON if at % 2 else DELIVERED, 0),
    "one of 20 denied, by chance": (lambda at, chance: FIRST_REASON if chance.random() < 0.05 else DELIVERED, 0),
    "half denied, by chance": (lambda at, chance: FIRST_REASON if chance.random() < 0.5 else DELIVERED, 0),
    "six outcomes, by chance": (lambda at, chance: chance.choice(MIXED), 0),
    "all delivered, ledger changes every 10": (lambda at, chance: DELIVERED, 10),
}


def progress_of(codes: bytes, first: int, every: int) -> Progress:
    """As the settlement gives it for the events from `first` on; the ledger changes after so many of them."""
    progress = Progress(first + len(codes) - 1, codes=bytearray(codes))
    step = every or len(codes)
    for at in range(0, len(codes), step):
        add_version(progress.versions, min(step, len(codes) - at), 1 + (first + at) // step if every else 1)
    return progress


def run(path: Path, commits: Sequence[Progress], *, apart_ms: int, proves: bool) -> tuple[float, int]:
    """Seconds that writing took, and bytes of the database then."""
    db = connect(path, store_schema(0), synchronous="NORMAL")
    begin = time.perf_counter()
    for number, progress in enumerate(commits):
        with transaction(db):
            db.execute("UPDATE state SET cursor = ?", (progress.cursor,))
            if proves:
                decisions = decisions_of(progress, REASONS)
                add_decisions(db, decisions, last=progress.cursor, now_ms=number * apart_ms)
    took = time.perf_counter() - begin
    if proves:
        require_whole(db, commits)
    db.pragma("wal_checkpoint(truncate)")
    size: int = fetch(db, "PRAGMA page_count")[0][0] * fetch(db, "PRAGMA page_size")[0][0]
    db.close()
    return took, size


def require_whole(db: apsw.Connection, commits: Sequence[Progress]) -> None:
    """What was written must be true, or its speed is of no interest."""
    told: Counter[str] = Counter()
    for progress in commits:
        told.update(decisions_of(progress, REASONS).column.counts())
    cursor = read_state(db).cursor
    checked = check(db, cursor=cursor, counts=told, now_ms=0)
    assert checked.fault is None, checked.fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--commit", type=int, default=1_000)
    parser.add_argument("--apart-ms", type=int, default=1_000)
    options = parser.parse_args()
    print(f"{options.events:,} events, {options.commit:,} a commit, {options.apart_ms} ms apart; seed 1")
    print(f"{'':40} {'us/event without':>17} {'with':>8} {'more':>8} {'bytes/event':>12}")
    sizes = {**dict.fromkeys(CASES, options.commit), "single, all delivered": 1}
    for name, size in sizes.items():
        kind, every = CASES.get(name, CASES["all delivered"])
        events = options.events if size > 1 else min(options.events, 5_000)
        chance = random.Random(1)
        starts = range(1, events + 1, size)
        commits = [
            progress_of(bytes([kind(at, chance) for at in range(first, min(first + size, events + 1))]), first, every)
            for first in starts
        ]
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            without, small = run(Path(folder) / "a.db", commits, apart_ms=options.apart_ms, proves=False)
            took, large = run(Path(folder) / "b.db", commits, apart_ms=options.apart_ms, proves=True)
        a, b = without / events * 1e6, took / events * 1e6
        print(f"{name:40} {a:17.3f} {b:8.3f} {b - a:8.3f} {(large - small) / events:12.3f}")


if __name__ == "__main__":
    main()

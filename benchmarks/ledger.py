"""Size and speed of the consent ledger; run it as `python benchmarks/ledger.py [SUBJECTS]` on an idle machine."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sluicegate.config.model import Requirement
from sluicegate.consent.collected import Collected, entries_of, news_in
from sluicegate.consent.decision import Judge
from sluicegate.consent.evidence import Evidence, Link, Told, decision, stamp_writes
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView

PURPOSES = ("functionality", "measurement", "marketing")
START_MS = 1_795_453_201_000
BUILD_BATCH = 5_000
STAMP = (("measurement", True),)


def main(n_subjects: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path, key = Path(folder, "consent.db"), Path(folder, "consent.key")
        ledger = Ledger(path, key, purposes=PURPOSES)
        start, start_cpu = time.perf_counter(), time.process_time()
        for first in range(0, n_subjects, BUILD_BATCH):
            ledger.record(
                [told(n) for n in range(first, min(first + BUILD_BATCH, n_subjects))], now_ms=START_MS + first
            )
        build_s, build_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        ledger.db.wal_checkpoint(mode=3)
        size = path.stat().st_size
        cpu_us = build_cpu_s / n_subjects * 1e6
        print(f"{n_subjects} subjects x {len(PURPOSES)} purposes, {BUILD_BATCH} in a transaction:")
        print(
            f"built in {build_s:.1f} s ({cpu_us:.1f} us CPU each), {size / 1e6:.1f} MB, {size / n_subjects:.0f} B each"
        )
        look_ups(path, key, n_subjects)
        writes(ledger, path, key, n_subjects)
        ledger.close()


def told(n: int, *, at_ms: int = 0, granted: bool = True) -> Told:
    """What a consent tool's call says."""
    decided = {purpose: granted and (n + place) % 3 != 0 for place, purpose in enumerate(PURPOSES)}
    writes = decision(decided, START_MS + n + at_ms, received_ms=START_MS * 2)
    return Told(Subject(None, visitor(n)), writes, Evidence.API, "web")


def visitor(n: int) -> str:
    """A visitor's id as SDKs make them."""
    return f"{n:08x}-aaaa-4bbb-8ccc-{n * 2654435761 % 2**48:012x}"


def look_ups(path: Path, key: Path, n_subjects: int) -> None:
    """Cold and warm, known and unknown, one by one and by batches."""
    chance = random.Random(1)
    view = LedgerView(path, key, Rules())
    known = [Subject(None, visitor(n)) for n in chance.sample(range(n_subjects), 20_000)]
    unknown = [Subject(None, visitor(n_subjects + n)) for n in range(20_000)]
    both = [Subject(f"user {n}", subject.anonymous_id) for n, subject in enumerate(known)]
    for name, subjects in (("known", known), ("unknown", unknown), ("user and visitor", both)):
        each(f"look-up, cold, {name}", lambda s: view.of(s).standings(gpc=True, now_ms=START_MS), subjects)
        fresh = [Subject(*(part and part[:1] + part[1:] for part in s)) for s in subjects]
        each(f"look-up, warm, {name}", lambda s: view.of(s).standings(gpc=True, now_ms=START_MS), fresh)
    each("is anything new? (nothing is)", lambda _: view.refresh(), range(20_000))
    judge = Judge(Requirement(all=("measurement",)))
    standings = [view.of(s).standings(gpc=True, now_ms=START_MS) for s in known]
    nobody = [view.of(s).standings(gpc=True, now_ms=START_MS) for s in unknown]
    each("decision, subject known", lambda one: judge.decide(STAMP, one, time_ms=START_MS), standings)
    each("decision, subject unknown", lambda one: judge.decide(STAMP, one, time_ms=START_MS), nobody)
    event = Collected("track", known[0], START_MS, {"measurement": True, "marketing": False})
    each("entries of a stamped event", lambda _: entries_of(event, received_ms=START_MS, source="web"), range(20_000))
    writes = stamp_writes(event.decided, time_ms=START_MS, received_ms=START_MS)
    each("whether they are news", lambda s: news_in(writes, view.of(s), now_ms=2 * START_MS), known)
    view.close()
    view = LedgerView(path, key, Rules())
    batches = [[Subject(None, visitor(n)) for n in chance.sample(range(n_subjects), 500)] for _ in range(40)]
    for name in ("cold", "warm"):
        each(f"batch of 500 look-ups, {name}", view.of_many, batches)
    view.close()


def writes(ledger: Ledger, path: Path, key: Path, n_subjects: int) -> None:
    """Transactions of several sizes, and what a reader pays for them."""
    chance = random.Random(2)
    view = LedgerView(path, key, Rules())
    for size in (1, 10, 100, 1_000):
        rounds = max(3, min(200, 5_000 // size))
        entries = [
            [told(n, at_ms=1, granted=False) for n in chance.sample(range(n_subjects), size)] for _ in range(rounds)
        ]
        each(f"{size} decisions in one transaction", lambda es: ledger.record(es, now_ms=START_MS), entries, per=size)
        each(f"a reader learns of {size * rounds} changes", lambda _: view.refresh(), [0])
    seen = [
        [
            Told(
                Subject(None, visitor(n)),
                stamp_writes({"marketing": False}, time_ms=START_MS * 2 - number, received_ms=START_MS * 2),
                Evidence.STAMP,
                "web",
            )
            for n in chance.sample(range(n_subjects), 500)
        ]
        for number in range(10)
    ]
    each("500 undated stamps in one transaction", lambda es: ledger.record(es, now_ms=START_MS), seen, per=500)
    known = [[told(n) for n in chance.sample(range(n_subjects), 500)] for _ in range(10)]
    each("500 decisions that are known already", lambda es: ledger.record(es, now_ms=START_MS), known, per=500)
    links = [
        [Link(Subject(None, visitor(n)), f"user {n}", START_MS) for n in chance.sample(range(n_subjects), 500)]
        for _ in range(10)
    ]
    each("500 identifies in one transaction", lambda es: ledger.record(es, now_ms=START_MS), links, per=500)
    view.close()


def each(name: str, work: Callable[..., object], items: Sequence[object], *, per: int = 1) -> None:
    """Print the median and the 99th percentile of one call, in microseconds per `per`-th of it."""
    times = []
    clock = time.perf_counter_ns
    for item in items:
        before = clock()
        work(item)
        times.append((clock() - before) / 1_000 / per)
    times.sort()
    print(
        f"{name:<48} {statistics.median(times):9.2f} us  p99 {times[int(len(times) * 0.99)]:9.2f} us"
        + (f"  ({1e6 / statistics.fmean(times):,.0f}/s)" if per > 1 or "transaction" in name else "")
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

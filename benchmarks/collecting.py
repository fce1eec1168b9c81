"""CPU per event of what events bring to the consent ledger; run it as `python benchmarks/collecting.py`."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluicegate.acceptance import Acceptor
from sluicegate.acceptance.collecting import Collector
from sluicegate.config.model import GatewayConfig
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.event import EventBatch

ROUNDS = 200
REPEATS = 5
NOW_MS = 1_795_453_201_000
STAMP = {"context": {"consent": {"categoryPreferences": {"measurement": True, "marketing": False}}}}
DATED = {"consent": {"measurement": True, "marketing": False, "givenAt": NOW_MS - 5_000}}


def batch_of(acceptor: Acceptor, n_events: int, more: dict[str, Any]) -> EventBatch:
    """Accepted events of as many visitors."""
    events = [
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": f"m{n}",
            "anonymousId": f"{n:08x}-aaaa-4bbb-8ccc-{n:012x}",
            "timestamp": "2026-11-23T17:00:00.000Z",
            **more,
        }
        for n in range(n_events)
    ]
    body = json.dumps({"batch": events}).encode()
    return acceptor.accept_batch(body, source="web", received_at_ms=NOW_MS).batch


def cpu_us(work: Callable[[], object], n_events: int) -> float:
    """Median of the repeats, in microseconds of CPU per event."""
    figures = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(ROUNDS):
            work()
        figures.append((time.process_time() - start) / ROUNDS / n_events * 1e6)
    return statistics.median(figures)


def main() -> None:
    """Measure and print."""
    acceptor = Acceptor(GatewayConfig())
    for n_events in (1, 20, 100):
        for name, more in {"no stamp": {}, "stamp, as known": STAMP, "dated stamp, as known": DATED}.items():
            with tempfile.TemporaryDirectory() as folder:
                paths = Path(folder, "consent.db"), Path(folder, "consent.key")
                ledger, reader = Ledger(*paths), LedgerReader(*paths, Rules())
                collector = Collector(reader)
                batch = batch_of(acceptor, n_events, more)
                start = time.process_time()
                entries = collector.collect(batch, received_ms=NOW_MS)
                first_us = (time.process_time() - start) / n_events * 1e6
                start = time.process_time()
                ledger.record(entries, now_ms=NOW_MS)
                write_us = (time.process_time() - start) / n_events * 1e6
                collector.collect(batch, received_ms=NOW_MS + 1)
                again_us = cpu_us(lambda c=collector, b=batch: c.collect(b, received_ms=NOW_MS + 2), n_events)
                print(
                    f"{n_events:>4} events, {name:<24} first {first_us:8.2f}, its write {write_us:8.2f},"
                    f" then {again_us:6.2f} us/event"
                )
                reader.close()
                ledger.close()


if __name__ == "__main__":
    main()

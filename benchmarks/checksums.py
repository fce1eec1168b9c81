"""What the checksums of the event log cost: CPU per event at the row sizes that occur.

    python benchmarks/checksums.py

Each row has a CRC-32C of its meta, mixed with the numbers beside it (the seal), and one of its payload as it is stored.
They are made once by whoever appends, and checked once by every reader: each destination, and the router for those that
are not loaded, which reads the meta alone. Events are those of `sluicegate bench`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from google_crc32c import value as crc32c

from sluicegate.bench.events import Workload
from sluicegate.event import Combo, EventBatch, encode_batch
from sluicegate.eventlog.compression import PayloadCodec
from sluicegate.eventlog.packing import MAX_ROW_BYTES
from sluicegate.eventlog.rows import check_payload_crc, check_seal, half_seal
from sluicegate.testing.batches import add_event

REPEATS = 9
LEAST_S = 0.02
NOW_MS = 1_700_000_000_000
STAMP = (("functionality", True), ("marketing", True), ("measurement", True))


def batch(n_events: int) -> EventBatch:
    """The first events of the benchmark."""
    workload, made = Workload("checksums"), EventBatch()
    combo = Combo("track", "bench", STAMP)
    for number in range(n_events):
        add_event(made, workload.event(number), message_id=workload.message_id(number), combo=combo)
    return made


def best_and_median_us(work: Callable[[], object]) -> tuple[float, float]:
    """What a call takes."""
    n_calls = 1
    figures: list[float] = []
    while len(figures) < REPEATS:
        began = time.process_time()
        for _ in range(n_calls):
            work()
        took_s = time.process_time() - began
        if took_s < LEAST_S:
            n_calls *= 2
        else:
            figures.append(took_s / n_calls * 1e6)
    return min(figures), statistics.median(figures)


def measure(n_events: int, *, compressed: bool) -> str:
    """One line of the table: the figures of a row of so many events."""
    meta, payload = encode_batch(batch(n_events))
    stored = PayloadCodec().stored(payload) if compressed else payload
    numbers = {"count": n_events, "received_at_ms": NOW_MS, "n_bytes": len(payload)}
    seal, crc = (half_seal(meta, **numbers) + 1) & 0xFFFF_FFFF, crc32c(stored)

    def append() -> None:
        half_seal(meta, **numbers)
        crc32c(stored)

    def read() -> None:
        check_seal(1, n_events, NOW_MS, len(payload), seal, meta)
        check_payload_crc(stored, crc)

    written, was_read = best_and_median_us(append), best_and_median_us(read)
    per_event = [f"{best / n_events:8.4f} {median / n_events:8.4f}" for best, median in (written, was_read)]
    return f"{n_events:7} {len(meta):8} {len(stored):9}   {per_event[0]}   {per_event[1]}   {written[1]:14.2f}"


def main() -> None:
    """Measure and print."""
    most = MAX_ROW_BYTES // len(Workload("checksums").event(0))
    print(
        f"{'events':>7} {'meta':>8} {'stored':>9}   {'append, us/event':>17}   {'read, us/event':>17}   append, us/row"
    )
    for n_events in (1, 3, 10, 100, 500, most):
        print(measure(n_events, compressed=True))
    for n_events in (10, 100, most):
        print(measure(n_events, compressed=False), " as if nothing could be compressed")
    print("best and median of", REPEATS)


if __name__ == "__main__":
    main()

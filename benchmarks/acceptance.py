"""CPU per event of acceptance and of the stored form; run it as `python benchmarks/acceptance.py`."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sluicegate.acceptance import Acceptor
from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch, decode_meta, encode_batch, split_payload

EVENTS = 100
ROUNDS = 300
REPEATS = 7
RECEIVED_AT_MS = 1_795_453_201_000


def event(number: int) -> dict[str, Any]:
    """A track event of about 520 bytes with 20 properties; every second one refuses marketing."""
    properties = {f"key_{k:02d}": k * 17 if k % 3 else f"v{k}" for k in range(20)}
    return {
        "type": "track",
        "messageId": f"bench-{number:016d}",
        "anonymousId": f"anon-{number % 97:06d}",
        "userId": f"user-{number % 50}",
        "event": "Order Completed",
        "timestamp": f"2026-11-23T17:00:00.{number % 1000:03d}Z",
        "context": {"consent": {"categoryPreferences": {"measurement": True, "marketing": number % 2 == 0}}},
        "properties": properties,
    }


def body(*, spaces: bool = False, **changes: Any) -> bytes:
    """A batch of such events as a client sends it."""
    batch = {"batch": [{**event(n), **changes} for n in range(EVENTS)], "sentAt": "2026-11-23T17:00:00.900Z"}
    return json.dumps(batch, separators=None if spaces else (",", ":")).encode()


def cpu_us(work: Callable[[], object]) -> tuple[float, float]:
    """Median and best of the repeats, in microseconds of CPU per event."""
    figures = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(ROUNDS):
            work()
        figures.append((time.process_time() - start) / ROUNDS / EVENTS * 1e6)
    return statistics.median(figures), min(figures)


def main() -> None:
    """Measure and print."""
    acceptor = Acceptor(GatewayConfig())

    def accept(data: bytes) -> EventBatch:
        return acceptor.accept_batch(data, source="web", received_at_ms=RECEIVED_AT_MS).batch

    plain = body()
    bodies = {
        "accept_batch": plain,
        "accept_batch, spaces after separators": body(spaces=True),
        "accept_batch, one by one (a second mention of consent)": body(name="consent"),
        "accept_batch, one by one (client's clock wrong)": body().replace(b"2026-11-23T", b"2026-11-22T"),
    }
    batch = accept(plain)
    meta, payload = encode_batch(batch)
    bounds = decode_meta(meta).bounds
    print(f"{len(plain) / EVENTS:.0f} bytes per event, {EVENTS} events, median and best of {REPEATS} x {ROUNDS}")
    works: dict[str, Callable[[], object]] = {name: partial(accept, data) for name, data in bodies.items()}
    works["encode_batch"] = lambda: encode_batch(batch)
    works["decode_meta"] = lambda: decode_meta(meta)
    works["split_payload"] = lambda: split_payload(payload, bounds)
    for name, work in works.items():
        median, best = cpu_us(work)
        print(f"{name:<56} {median:6.2f} {best:6.2f} us/event")


if __name__ == "__main__":
    main()

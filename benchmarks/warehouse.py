"""Events per second into local databases: `python -m benchmarks.warehouse [postgres] [clickhouse] [bigquery]`.

PostgreSQL is Debian's with fsync off, ClickHouse its engine inside chDB, BigQuery the tests' server of its REST
interface. Each event becomes two rows, of some 30 and 45 columns. Needs the extra `peers` and `scripts/peers`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.bigquery import BigQuery
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.destinations.warehouse.clickhouse_peer import ClickHousePeer, ClickHouseServer
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.bigquery_server import BigQueryServer
from tests.doubles.postgres_cluster import running_cluster

TIME = "2026-01-14T10:20:30.456Z"
EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Product Added",
    "userId": "user-1",
    "anonymousId": "anon-1",
    "channel": "web",
    **dict.fromkeys(("timestamp", "originalTimestamp", "sentAt", "receivedAt"), TIME),
    "context": {
        "ip": "203.0.113.9",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
        "locale": "en-GB",
        "timezone": "Europe/Berlin",
        "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
        "page": dict.fromkeys(
            ("url", "path", "referrer", "search", "title"), "https://shop.example/p/42?utm_source=news"
        ),
        "campaign": dict.fromkeys(("name", "source", "medium", "term", "content"), "spring"),
        "screen": {"width": 1440, "height": 900, "density": 2},
    },
    "properties": dict.fromkeys(("sku", "category", "name", "brand", "variant", "coupon", "url", "currency"), "Games")
    | {"price": 18.99, "quantity": 1, "position": 3, "image_url": "x", "cart_id": "cart-9", "product_id": "507f1f77"},
}
NUMBERS = count()


def batch_of(n_events: int) -> Batch:
    ids = [f"m-{next(NUMBERS)}" for _ in range(n_events)]
    return make_batch(ids, raws=[msgspec.json.encode({**EVENT, "messageId": id_}) for id_ in ids])


def measure(name: str, make: Callable[[], Destination], sizes: dict[int, int]) -> None:
    """Print events per second and CPU per event of this process, for batches of each size as often as it says."""
    for size, times in sizes.items():
        destination = make()
        destination.initialize()
        destination.deliver(batch_of(1))
        batches = [batch_of(size) for _ in range(times)]
        began, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            destination.deliver(batch)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        n_events = size * times
        print(
            f"{name:10} {size:6} a batch: {n_events / wall:7.0f} events/s {cpu / n_events * 1e6:6.0f} us CPU an event"
        )
        destination.destroy()


def main(names: list[str]) -> None:
    folder = Path(tempfile.mkdtemp())
    if "postgres" in names:
        with contextmanager(running_cluster)() as cluster:
            measure("postgres", lambda: PostgresPeer(cluster).make(folder), {1: 50, 500: 10, 5_000: 4})
    if "clickhouse" in names:
        server = ClickHouseServer()
        measure("clickhouse", lambda: ClickHousePeer(server).make(folder), {1: 20, 500: 10, 10_000: 3})
        server.close()
    if "bigquery" in names:
        vendor = BigQueryServer()
        login: dict[str, Any] = {"project": "project-1", "endpoint": vendor.url, "credentials": vendor.key}
        measure("bigquery", lambda: make_destination(BigQuery, folder, **login), {1: 50, 500: 10})
        vendor.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ["postgres", "clickhouse", "bigquery"])

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.hostile.corpus import CORPUS
from tests.hostile.process import MIB, Gateway
from tests.hostile.streams import GoodTraffic, HostileTraffic

PER_S = 50.0
MAX_GROWTH_BYTES = 64 * MIB + 32 * MIB
"""Bodies in memory are bounded by 64 MiB, what parsers and caches keep by less than the rest."""
PATIENCE_S = 10.0


async def _send(good: list[GoodTraffic], hostile: HostileTraffic, *, n_hostile: int) -> None:
    ended = asyncio.Event()
    sending = [asyncio.create_task(client.run(ended)) for client in good]
    sending.append(asyncio.create_task(hostile.run(ended)))
    while hostile.n_sent < n_hostile and not any(task.done() for task in sending):
        await asyncio.sleep(0.05)
    ended.set()
    await asyncio.gather(*sending)


def _sockets_are_back(gateway: Gateway, baseline: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while gateway.n_sockets > baseline and time.monotonic() < deadline:
        time.sleep(0.05)
    return gateway.n_sockets <= baseline


def test_hostile_requests_at_50_a_second_harm_nobody_else(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, has_ledger=True, head_timeout_s=5.0, body_grace_s=3.0, linger_s=0.5)
    good = [GoodTraffic(gateway.address, f"good-{number}") for number in range(4)]
    warm = HostileTraffic(gateway.address, CORPUS[:1], PER_S)
    asyncio.run(_send(good, warm, n_hostile=1))
    sockets, rss = gateway.n_sockets, gateway.rss_bytes
    hostile = HostileTraffic(gateway.address, CORPUS, PER_S)

    asyncio.run(_send(good, hostile, n_hostile=len(CORPUS)))

    peak = gateway.rss_bytes
    assert hostile.wrong == []
    assert hostile.n_sent >= len(CORPUS)
    assert not [status for status in hostile.statuses if status >= 500]
    assert _sockets_are_back(gateway, sockets)
    assert peak - rss < MAX_GROWTH_BYTES
    assert gateway.process.poll() is None
    assert gateway.close() == 0
    assert gateway.log == ""
    stored = {one["messageId"] for one in gateway.stored()}
    accepted = [one for client in good for one in client.accepted]
    assert len(accepted) > 1_000
    assert stored.issuperset(accepted)

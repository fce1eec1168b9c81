from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.harness import Client, track
from tests.hostile.case import batch, event, post
from tests.hostile.client import read_answer
from tests.hostile.process import Gateway

MAX_FDS = 64
N_CLIENTS = 300
PATIENCE_S = 10.0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    running = Gateway(tmp_path, max_fds=MAX_FDS, linger_s=0.2)
    yield running
    running.close()


async def _crowd(address: tuple[str, int], held: list[asyncio.StreamWriter]) -> Counter[int]:
    """Connect all at once, send one batch each, and stay; how often each status came, 0 for no answer."""

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_connection(*address)
        held.append(writer)
        try:
            writer.write(post(batch(event(messageId=f"crowd-{number}"))))
            answer = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
        except ConnectionError:
            answer = None
        if answer is None:
            return 0
        if answer.status == 503:
            assert 1 <= int(answer.headers["retry-after"]) <= 5
            assert answer.headers["connection"] == "close"
        return answer.status

    return Counter(await asyncio.gather(*map(one, range(N_CLIENTS))))


async def _while_crowded(gateway: Gateway, first: Client) -> tuple[Counter[int], list[int]]:
    held: list[asyncio.StreamWriter] = []
    statuses = await _crowd(gateway.address, held)
    served = [first.post("/v1/track", track(f"first-{number}")).status for number in range(5)]
    for writer in held:
        writer.close()
    return statuses, served


def test_gateway_without_descriptors_refuses_and_recovers(gateway: Gateway) -> None:
    first = Client(gateway.address)
    assert first.get("/health").status == 200
    sockets = gateway.n_sockets

    for _ in range(3):
        statuses, served = asyncio.run(_while_crowded(gateway, first))

        assert statuses[200] >= 20
        assert statuses[503] >= 1
        assert set(statuses) <= {200, 503, 0}
        assert served == [200] * 5
        assert _sockets_become(gateway, sockets)

    late = Client(gateway.address)
    assert late.post("/v1/track", track("late")).status == 200
    assert gateway.process.poll() is None
    assert gateway.log == ""
    stored = Counter(one["messageId"] for one in gateway.stored())
    assert stored["late"] == 1 and stored["first-4"] == 3
    late.close()
    first.close()


def _sockets_become(gateway: Gateway, expected: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while gateway.n_sockets != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return gateway.n_sockets == expected


def test_gateway_that_cannot_accept_waits_and_recovers(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, linger_s=0.2)
    first = Client(gateway.address)
    assert first.get("/health").status == 200
    sockets = gateway.n_sockets
    limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (gateway.n_fds + 4, limits[1]))

    statuses, served = asyncio.run(_while_crowded(gateway, first))
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, limits)

    assert set(statuses) <= {200, 0}
    assert served == [200] * 5
    assert _sockets_become(gateway, sockets)
    late = Client(gateway.address)
    assert late.post("/v1/track", track("late")).status == 200
    assert gateway.close() == 0
    assert gateway.log == ""
    late.close()
    first.close()

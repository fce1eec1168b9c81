from __future__ import annotations

import pytest

from sluicegate.bench.spool import Spool

BODIES = [bytes([65 + index]) * (index % 5) for index in range(20)]


@pytest.mark.parametrize("memory_bytes", [0, 7, 1_000])
def test_bodies_come_back_in_order_wherever_they_were_kept(memory_bytes: int) -> None:
    spool = Spool(memory_bytes)

    for index, body in enumerate(BODIES):
        spool.append(body, 100 + index)

    assert list(spool) == [(body, 100 + index) for index, body in enumerate(BODIES)]
    assert (len(spool), spool.n_bytes) == (20, sum(map(len, BODIES)))
    spool.clear()


def test_reading_does_not_disturb_what_comes_after() -> None:
    spool = Spool(0)
    spool.append(b"one", 1)

    first = list(spool)
    spool.append(b"two", 2)

    assert first == [(b"one", 1)]
    assert list(spool) == [(b"one", 1), (b"two", 2)]
    spool.clear()


def test_cleared_spool_is_empty() -> None:
    spool = Spool(2)
    spool.append(b"long enough for the file", 1)

    spool.clear()

    assert (list(spool), len(spool), spool.n_bytes) == ([], 0, 0)

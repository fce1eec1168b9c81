from __future__ import annotations

import pytest

from sluicegate.bench.spool import MAX_RESERVED_BYTES, Spool

BODIES = [bytes([65 + index]) * (index % 5) for index in range(20)]


def spool_with(n_bytes: int) -> Spool:
    spool = Spool()
    if n_bytes:
        spool.reserve(n_bytes)
    return spool


@pytest.mark.parametrize("reserved_bytes", [0, 7, 1_000])
def test_bodies_come_back_in_order_wherever_they_were_kept(reserved_bytes: int) -> None:
    spool = spool_with(reserved_bytes)

    for index, body in enumerate(BODIES):
        spool.append(body, 100 + index)

    assert list(spool) == [(body, 100 + index) for index, body in enumerate(BODIES)]
    assert (len(spool), spool.n_bytes) == (20, sum(map(len, BODIES)))
    spool.clear()


@pytest.mark.parametrize("reserved_bytes", [0, 3, 100])
def test_reading_does_not_disturb_what_comes_after(reserved_bytes: int) -> None:
    spool = spool_with(reserved_bytes)
    spool.append(b"one", 1)

    first = list(spool)
    spool.append(b"two", 2)

    assert first == [(b"one", 1)]
    assert list(spool) == [(b"one", 1), (b"two", 2)]
    spool.clear()


def test_cleared_spool_is_empty() -> None:
    spool = spool_with(2)
    spool.append(b"long enough for the file", 1)

    spool.clear()

    assert (list(spool), len(spool), spool.n_bytes) == ([], 0, 0)


def test_reserving_again_forgets_what_was_there() -> None:
    spool = spool_with(100)
    spool.append(b"of the last run", 1)

    spool.reserve(10)
    spool.append(b"of this", 2)

    assert list(spool) == [(b"of this", 2)]


def test_no_more_is_reserved_than_a_machine_can_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.bench.spool.MAX_RESERVED_BYTES", 8)
    spool = spool_with(MAX_RESERVED_BYTES)

    spool.append(b"fits", 1)
    spool.append(b"does not", 2)

    assert list(spool) == [(b"fits", 1), (b"does not", 2)]
    spool.clear()

from __future__ import annotations

import threading
from typing import cast

import pytest

from sluicegate.delivery.calls import Calls
from sluicegate.delivery.lane import Lane, Work
from sluicegate.destinations.base import Batch


def test_trouble_with_one_call_that_has_ended_does_not_forget_the_others() -> None:
    ended = threading.Semaphore(0)
    calls = Calls(lambda batch: None, name="vendor", wake=ended.release)
    works = [Work(cast(Lane, None), Batch([n], [str(n)], [b"{}"])) for n in range(3)]
    for work in works:
        calls.submit(work)
        assert ended.acquire(timeout=10)

    with pytest.raises(RuntimeError):
        for _ in calls.ended():
            raise RuntimeError("it cannot be noted")

    assert calls.n_running == 2
    assert [one.work for one in calls.ended()] == works[1:]
    assert not calls.n_running
    calls.close()

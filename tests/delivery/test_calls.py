from __future__ import annotations

import threading
from typing import cast

import pytest

from sluicegate.delivery.calls import Calls
from sluicegate.delivery.lane import Lane, Work
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry


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


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def test_error_that_cannot_say_what_it_is_is_a_failed_call() -> None:
    def deliver(batch: Batch) -> None:
        raise _Mute

    ended = Calls(deliver, name="vendor", wake=lambda: None).run(Work(cast(Lane, None), Batch([1], ["1"], [b"{}"])))

    assert isinstance(ended.result, Retry)
    assert "_Mute" in str(ended.result)


def test_status_that_is_no_number_is_none() -> None:
    def deliver(batch: Batch) -> None:
        raise Rejected("bad").answered(cast(int, b"400"))

    ended = Calls(deliver, name="vendor", wake=lambda: None).run(Work(cast(Lane, None), Batch([1], ["1"], [b"{}"])))

    assert isinstance(ended.result, Rejected)
    assert ended.result.status is None

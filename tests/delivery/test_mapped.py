from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from sluicegate.delivery.mapped import FILTERED, Mapped
from sluicegate.delivery.result import Result
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import Rejected, Retry
from sluicegate.mapping.changes import Changes
from sluicegate.mapping.model import MapConfig

NAMES = ("Order Completed", "Noise", "Order Refunded", "Noise", "Order Updated")
ALL = Batch(
    list(range(11, 16)),
    list("abcde"),
    [msgspec.json.encode({"type": "track", "event": name, "properties": {"total": 5}}) for name in NAMES],
)
ORDERS = Changes(MapConfig(only=("Order *",), rename={"properties.total": "properties.revenue"}))


def mapped(
    answer: Callable[[Batch], Result], changes: Changes = ORDERS, *, max_bytes: int = 100_000
) -> tuple[Mapped, list[Batch]]:
    calls: list[Batch] = []

    def deliver(batch: Batch) -> Result:
        calls.append(batch)
        return answer(batch)

    return Mapped(deliver, changes, max_bytes=max_bytes), calls


def raising(error: BaseException) -> Callable[[Batch], Result]:
    def answer(batch: Batch) -> Result:
        raise error

    return answer


def test_events_are_filtered_and_changed_and_keep_their_ids() -> None:
    deliver, calls = mapped(lambda batch: None)

    outcome = deliver(ALL)

    assert outcome == Outcome(skipped={1: FILTERED, 3: FILTERED})
    (batch,) = calls
    assert (batch.offsets, batch.message_ids) == ([11, 13, 15], ["a", "c", "e"])
    assert batch[0].json() == {"type": "track", "event": "Order Completed", "properties": {"revenue": 5}}


def test_nothing_is_called_when_all_is_filtered() -> None:
    deliver, calls = mapped(lambda batch: None, Changes(MapConfig(skip=("*",))))

    outcome = deliver(ALL)

    assert outcome is not None
    assert len(outcome.skipped) == 5
    assert calls == []


def test_nothing_is_said_when_all_is_delivered() -> None:
    deliver, _ = mapped(lambda batch: None, Changes(MapConfig(drop=("properties.total",))))

    assert deliver(ALL) is None


def test_indices_are_those_of_the_unchanged_batch() -> None:
    deliver, _ = mapped(lambda batch: Outcome({0: "bad"}, {1: "other"}, frozenset({2}), "busy", 3.0, status=429))

    outcome = deliver(ALL)

    expected = {1: FILTERED, 3: FILTERED, 2: "other"}
    assert outcome == Outcome({0: "bad"}, expected, frozenset({4}), "busy", 3.0, status=429)


def test_rejected_events_are_those_of_the_unchanged_batch() -> None:
    deliver, _ = mapped(raising(Rejected({1: "bad"}, rest_delivered=False).answered(400, "text")))

    outcome = deliver(ALL)

    skipped = {1: FILTERED, 3: FILTERED}
    assert outcome == Outcome({2: "bad"}, skipped, frozenset({0, 4}), status=400, response="text")


@pytest.mark.parametrize("error", [Retry("later"), Rejected("all of it"), ValueError("bug")])
def test_what_concerns_the_whole_batch_stays_as_it_is(error: BaseException) -> None:
    deliver, _ = mapped(raising(error))

    with pytest.raises(type(error)) as raised:
        deliver(ALL)

    assert raised.value is error


def test_event_that_the_changes_make_too_large_is_rejected_by_itself() -> None:
    raws = [b'{"a":%d}' % number for number in (1, 10**90, 3)]
    changes = Changes(MapConfig(add={"b": "x" * 100}))
    deliver, calls = mapped(lambda batch: None, changes, max_bytes=200)

    outcome = deliver(Batch([1, 2, 3], list("abc"), raws))

    assert outcome is not None
    assert "map" in outcome.rejected.pop(1)  # type: ignore[attr-defined]
    assert outcome == Outcome(again=frozenset({2}))
    assert [call.message_ids for call in calls] == [["a"]]


def test_events_that_the_changes_make_too_many_bytes_go_in_several_calls() -> None:
    changes = Changes(MapConfig(add={"b": "x" * 100}))
    deliver, calls = mapped(lambda batch: None, changes, max_bytes=450)

    outcome = deliver(ALL)

    assert outcome == Outcome(again=frozenset({2, 3, 4}))
    assert [call.message_ids for call in calls] == [["a", "b"]]


def test_busy_vendor_holds_what_did_not_fit_too() -> None:
    changes = Changes(MapConfig(add={"b": "x" * 100}))
    deliver, _ = mapped(lambda batch: Outcome({0: "bad"}, {}, frozenset({1}), "busy", 3.0), changes, max_bytes=450)

    outcome = deliver(ALL)

    assert outcome == Outcome({0: "bad"}, {}, frozenset({1, 2, 3, 4}), "busy", 3.0)


@pytest.mark.parametrize("returned", [3, True, "done", {"status": 200}])
def test_what_deliver_returns_beside_outcomes_means_delivered(returned: object) -> None:
    deliver, _ = mapped(lambda batch: cast(Result, returned), Changes(MapConfig(drop=("properties.total",))))

    assert deliver(ALL) is None

"""Mistakes with what is settled beyond the cursor, and seeds each of which finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from unittest import mock

from sluicegate.delivery import settlement
from sluicegate.delivery.beyond import News, Remembered
from sluicegate.delivery.settlement import Settlement
from tests.simulation.store import ModelStore
from tests.simulation.storefile import Content

Mutation = Callable[[], AbstractContextManager[object]]


def settled_beyond_is_not_kept() -> AbstractContextManager[object]:
    return mock.patch.object(News, "touch", lambda self, first, last: None)


def settled_beyond_is_forgotten_at_the_start() -> AbstractContextManager[object]:
    return mock.patch.object(ModelStore, "remembered", lambda self, epoch, *, head: Remembered())


def dead_beyond_are_forgotten_at_the_start() -> AbstractContextManager[object]:
    original = ModelStore.remembered

    def remembered(self: ModelStore, epoch: int, *, head: int) -> Remembered:
        return Remembered(original(self, epoch, head=head).blocks)

    return mock.patch.object(ModelStore, "remembered", remembered)


def settled_beyond_goes_out_again() -> AbstractContextManager[object]:
    return mock.patch.object(Settlement, "marks", lambda self, first, n: b"")


def unfinished_is_kept_as_settled() -> AbstractContextManager[object]:
    return mock.patch.object(settlement, "_KEPT", settlement._KEPT | {settlement.UNFINISHED: "delivered"})


def router_moves_the_cursor_over_what_is_settled() -> AbstractContextManager[object]:
    return mock.patch.object(Content, "settled_to", 0)


FOUND_WITHIN: dict[Mutation, Sequence[int]] = {
    dead_beyond_are_forgotten_at_the_start: (36, 157, 289, 351),
    router_moves_the_cursor_over_what_is_settled: (384, 576, 690, 756),
    settled_beyond_goes_out_again: (3, 7, 21, 25),
    settled_beyond_is_forgotten_at_the_start: (3, 7, 21, 36),
    settled_beyond_is_not_kept: (3, 7, 8, 20),
    unfinished_is_kept_as_settled: (3, 7, 8, 17),
}

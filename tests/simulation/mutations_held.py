"""Mistakes in holding and erasing that are planted into the product's rules, as those in `mutations`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast
from unittest import mock

import apsw

from sluicegate.consent.standing import NO_END
from sluicegate.delivery import gate as gate_module
from sluicegate.delivery import held as held_module
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.erasing import Eraser, Report
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HeldEvents, HoldBounds, Holds
from sluicegate.delivery.held_sweep import HeldSweep
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.lane import Lane, Origin, Part
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.settlement import Dead, HeldRow
from sluicegate.delivery.underway import Underway
from sluicegate.delivery.whose import Whose
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.runs import Events
from sluicegate.sqlite import fetch
from tests.simulation import store as store_module
from tests.simulation.erasing import LedgerFile
from tests.simulation.flight import Interrupted, ModelFlight
from tests.simulation.held import ModelHeld
from tests.simulation.mutations import Mutation, _replace
from tests.simulation.storefile import StoreFile


def released_events_go_newest_first() -> AbstractContextManager[object]:
    def add(original: Callable[[Underway, Lane], Lane]) -> Callable[[Underway, Lane], Lane]:
        def turned(self: Underway, lane: Lane) -> Lane:
            if lane.origin is Origin.HELD:
                lane.parts.reverse()
            return original(self, lane)

        return turned

    return _replace(Underway, "add", add)


def reopened_events_go_before_older_ones() -> AbstractContextManager[object]:
    def release(original: Callable[..., None]) -> Callable[..., None]:
        def at_once(self: Lanes, events: Events, origin: Origin, *, careful: bool = False) -> None:
            if origin is not Origin.LOG:
                return original(self, events, origin, careful=careful)
            parts = deque(map(Part, self._calls_of(events)))
            self._underway.add(Lane(parts, origin, behind=True, scattered=True))
            return None

        return at_once

    return _replace(Lanes, "release", release)


def newer_events_do_not_wait_for_released_ones() -> AbstractContextManager[object]:
    return mock.patch.object(Holding, "more", False)


def released_events_are_not_judged_again() -> AbstractContextManager[object]:
    def sift(original: Callable[[Lanes, Gate, Lane], bool]) -> Callable[[Lanes, Gate, Lane], bool]:
        return lambda self, gate, lane: lane.origin is Origin.HELD or original(self, gate, lane)

    return _replace(Lanes, "_sift", sift)


def grant_revives_what_was_refused_while_it_waited() -> AbstractContextManager[object]:
    return mock.patch.object(Gate, "_unless_refused_since", lambda self, combo, standings, case: None)


def held_events_are_forgotten_at_a_start() -> AbstractContextManager[object]:
    def init(original: Callable[..., None]) -> Callable[..., None]:
        def forgetful(self: Holding, *args: Any, **more: Any) -> None:
            original(self, *args, **more)
            self._any = self._untaken = False

        return forgetful

    return _replace(Holding, "__init__", init)


def held_events_are_counted_and_not_kept() -> AbstractContextManager[object]:
    def insert(original: Callable[[apsw.Connection, Holds], list[Offset]]) -> Callable[..., list[Offset]]:
        def lose(connection: apsw.Connection, holds: Holds) -> list[Offset]:
            refused = original(connection, holds)
            connection.execute("DELETE FROM held WHERE log_offset = (SELECT max(log_offset) FROM held)")
            return refused

        return lose

    return _replace(store_module, "insert_held", insert)


def what_is_held_no_more_is_counted_again() -> AbstractContextManager[object]:
    def remove(original: Callable[..., list[Offset]]) -> Callable[..., list[Offset]]:
        def again(connection: apsw.Connection, offsets: Sequence[Offset]) -> list[Offset]:
            offsets = list(offsets)
            original(connection, offsets)
            return offsets

        return again

    return _replace(store_module, "remove_held", remove)


def released_events_can_expire() -> AbstractContextManager[object]:
    def expired(self: HeldEvents, *, arrived_before_ms: int, limit: int) -> list[Offset]:
        rows = fetch(self._db, "SELECT log_offset, arrived_at_ms FROM held ORDER BY log_offset LIMIT ?", (limit,))
        return [offset for offset, arrived_ms in rows if arrived_ms < arrived_before_ms]

    return mock.patch.object(HeldEvents, "expired", expired)


def what_is_still_to_be_judged_counts_as_judged() -> AbstractContextManager[object]:
    def holds(self: HeldSweep, name: str, rows: tuple[HeldRow, ...], *, judged_by: int) -> Holds | None:
        watched = self._watched.get(name)
        if not rows or watched is None:
            return Holds(rows, 0, "", self._bounds) if rows else None
        watched.any = True
        return Holds(rows, self._ledger.version, self._gates[name].under, self._bounds)

    return mock.patch.object(HeldSweep, "holds", holds)


def subjects_may_have_as_many_held_as_they_like() -> AbstractContextManager[object]:
    return mock.patch.object(held_module, "_with_room", lambda connection, holds, n_held: holds.rows)


def total_of_held_events_is_not_bounded() -> AbstractContextManager[object]:
    def of(original: Callable[..., HoldBounds]) -> Callable[..., HoldBounds]:
        return lambda consent: replace(original(consent), total=1_000_000)

    return _replace(HoldBounds, "of", of)


def events_are_held_for_ever() -> AbstractContextManager[object]:
    return mock.patch.object(Gate, "expired_before_ms", lambda self: 0)


def events_are_given_up_as_soon_as_they_are_held() -> AbstractContextManager[object]:
    return mock.patch.object(Gate, "expired_before_ms", lambda self: self._clock_ms() + 1)


def what_is_late_is_given_up_before_the_ledger_is_looked_at() -> AbstractContextManager[object]:
    def judge(original: Callable[..., bool]) -> Callable[..., bool]:
        def late(self: HeldSweep, name: str, watched: Any, store: Any, log: Any) -> bool:
            self._expire(watched, self._gates[name], store, log)
            return original(self, name, watched, store, log)

        return late

    return _replace(HeldSweep, "_judge", judge)


def held_events_are_not_found_by_their_subject() -> AbstractContextManager[object]:
    return mock.patch.object(ModelHeld, "of", lambda self, numbers: [])


def deaths_of_released_events_are_not_remembered() -> AbstractContextManager[object]:
    def interrupted(original: Callable[[ModelFlight], Interrupted]) -> Callable[[ModelFlight], Interrupted]:
        return lambda self: original(self)._replace(released=[])

    return _replace(ModelFlight, "interrupted", interrupted)


def erased_events_still_go_out() -> AbstractContextManager[object]:
    return mock.patch.object(gate_module, "with_barred", lambda reasons, known, offsets: reasons)


def erased_events_are_held() -> AbstractContextManager[object]:
    def reasons(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, about, *, arrived_ms, offsets=(): original(self, about, arrived_ms=arrived_ms)

    return _replace(Gate, "reasons", reasons)


def erased_events_become_dead_letters() -> AbstractContextManager[object]:
    def barred(self: Commits, dead: Sequence[Dead]) -> list[None]:
        return [None] * len(dead)

    return mock.patch.object(Commits, "_barred", barred)


def dead_letters_of_the_erased_stay() -> AbstractContextManager[object]:
    return mock.patch.object(StoreFile, "erase", lambda self, is_theirs, was_erased: 0)


def erasing_goes_on_where_an_earlier_process_was() -> AbstractContextManager[object]:
    def begin(self: Eraser, regulation: Any) -> Report:
        report = Report.of(regulation.report)
        keys = cast(LedgerFile, self._ledger).keys_of(regulation.id)
        self._erase(Whose(keys, self._ledger.keys), regulation, report)
        return report

    return mock.patch.object(Eraser, "begin", begin)


def erasing_takes_what_came_after_the_suppression() -> AbstractContextManager[object]:
    return mock.patch.object(LedgerFile, "suppressed_to", lambda self, id_: NO_END)


FOUND_WITHIN: dict[Mutation, Sequence[int]] = {
    dead_letters_of_the_erased_stay: (170, 328, 794, 857),
    deaths_of_released_events_are_not_remembered: (398, 482, 576, 910),
    erased_events_are_held: (65, 173, 300, 307),
    erased_events_become_dead_letters: (237, 940, 1_494),
    erased_events_still_go_out: (7, 23, 45, 65),
    erasing_goes_on_where_an_earlier_process_was: (87, 93, 106),
    erasing_takes_what_came_after_the_suppression: (1_667, 1_773, 6_163),
    events_are_given_up_as_soon_as_they_are_held: (1, 3, 7),
    events_are_held_for_ever: (3, 12, 26),
    grant_revives_what_was_refused_while_it_waited: (58, 244, 439, 445),
    held_events_are_counted_and_not_kept: (1, 3, 7),
    held_events_are_forgotten_at_a_start: (77, 26, 50),
    held_events_are_not_found_by_their_subject: (1, 3, 7),
    newer_events_do_not_wait_for_released_ones: (77, 302, 561, 576),
    released_events_are_not_judged_again: (1, 51, 77, 580),
    released_events_can_expire: (1, 35, 51, 59),
    released_events_go_newest_first: (3, 10, 19),
    reopened_events_go_before_older_ones: (1_060,),
    subjects_may_have_as_many_held_as_they_like: (1, 3, 12),
    total_of_held_events_is_not_bounded: (10, 37, 60),
    what_is_held_no_more_is_counted_again: (51, 591, 693, 1_417),
    what_is_late_is_given_up_before_the_ledger_is_looked_at: (1, 59, 107, 111),
    what_is_still_to_be_judged_counts_as_judged: (137, 211, 510, 521),
}
"""As that of `mutations`."""

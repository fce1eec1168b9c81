"""Mistakes that are planted into the product's rules, to see how many seeds it takes until one is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from sluicegate import routing
from sluicegate.config.model import SupervisorConfig
from sluicegate.consent import standing as standing_module
from sluicegate.consent.requirement import State
from sluicegate.delivery import lanes as lanes_module
from sluicegate.delivery import pace, recovery
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.lane import Lane, Part, Work
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.pace import Pace
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.settlement import DELIVERED, UNFINISHED, Dead, Progress, Settlement
from sluicegate.delivery.sweep import Sweep
from sluicegate.errors import ConsentUnreadable, Retry
from sluicegate.eventlog.runs import Events
from sluicegate.loading import lifecycle
from sluicegate.loading import table as table_module
from sluicegate.loading.lifecycle import Lifecycle
from sluicegate.loading.slot import Process, Slot
from sluicegate.loading.table import LoadingTable
from sluicegate.routing import Decision
from tests.simulation.consent import ModelDeciding
from tests.simulation.eventlog import Gateway
from tests.simulation.flight import Interrupted, ModelFlight
from tests.simulation.router import Router
from tests.simulation.store import ModelStore

Mutation = Callable[[], AbstractContextManager[object]]


def _replace(owner: object, name: str, make: Callable[[Any], Any]) -> AbstractContextManager[object]:
    """The attribute as `make` makes it of the original."""
    return mock.patch.object(owner, name, make(getattr(owner, name)))


def cursor_is_committed_before_delivery() -> AbstractContextManager[object]:
    def advance(original: Callable[[Settlement], Progress]) -> Callable[[Settlement], Progress]:
        def moved(self: Settlement) -> Progress:
            at = self._states.find(UNFINISHED)
            if at >= 0:
                self._states[at] = DELIVERED
            return original(self)

        return moved

    return _replace(Settlement, "advance", advance)


def epoch_is_not_checked() -> AbstractContextManager[object]:
    return mock.patch.object(ModelStore, "check_epoch", lambda self, epoch: None)


def wish_for_one_that_is_ending_is_lost() -> AbstractContextManager[object]:
    def want(original: Callable[[LoadingTable, Slot], None]) -> Callable[[LoadingTable, Slot], None]:
        return lambda self, slot: original(self, slot) if slot.process is None else None

    return _replace(LoadingTable, "_want", want)


def exit_of_an_older_epoch_is_believed() -> AbstractContextManager[object]:
    return mock.patch.object(Slot, "running", lambda self, epoch: self.process)


def retry_after_holds_nothing_else() -> AbstractContextManager[object]:
    def next_batches(original: Callable[[Lanes, float], list[Work]]) -> Callable[[Lanes, float], list[Work]]:
        def unheld(self: Lanes, now: float) -> list[Work]:
            asked, self._pace.not_before = self._pace.not_before, -math.inf
            try:
                return original(self, now)
            finally:
                self._pace.not_before = asked

        return unheld

    return _replace(Lanes, "next_batches", next_batches)


def retry_sends_the_newer_half_first() -> AbstractContextManager[object]:
    def postpone(original: Callable[..., None]) -> Callable[..., None]:
        def turned(self: Lanes, lane: Lane, error: BaseException, now: float) -> None:
            original(self, lane, error, now)
            if lane.parts and len(lane.parts[0].events) > 1:
                older, newer = lane.parts.popleft().halves()
                lane.parts.extendleft((older, newer))

        return turned

    return _replace(Lanes, "_postpone", postpone)


def lanes_do_not_own_their_subjects() -> AbstractContextManager[object]:
    return mock.patch.object(Lane, "slots", frozenset())


def undecided_is_allowed() -> AbstractContextManager[object]:
    return mock.patch.object(routing, "_BY_STATE", {**routing._BY_STATE, State.UNDECIDED: Decision.ALLOW})


def dead_letter_counts_as_delivered() -> AbstractContextManager[object]:
    def bury(self: Settlement, dead: Dead, version: int = 0) -> None:
        self._states[dead.offset - self.cursor - 1] = DELIVERED

    return mock.patch.object(Settlement, "bury", bury)


def settled_events_go_out_again() -> AbstractContextManager[object]:
    def deliver(original: Callable[..., None]) -> Callable[..., None]:
        def again(self: Lanes, lane: Lane, events: Events) -> None:
            original(self, lane, events)
            if not lane.replay and len(events) > 1:
                lane.parts.append(Part(events))
                self._underway.n_away += len(events)

        return again

    return _replace(Lanes, "_deliver", deliver)


def capacity_is_one_too_many() -> AbstractContextManager[object]:
    def init(original: Callable[..., None]) -> Callable[..., None]:
        def roomy(self: LoadingTable, config: SupervisorConfig, **more: Any) -> None:
            original(self, replace(config, max_loaded=config.max_loaded + 1), **more)

        return roomy

    return _replace(LoadingTable, "__init__", init)


def place_is_given_away_for_ever() -> AbstractContextManager[object]:
    def give_place(original: Callable[..., None]) -> Callable[..., None]:
        def for_ever(self: Lifecycle, slot: Slot, process: Process, now: float) -> None:
            original(self, slot, process, now)
            slot.next_attempt_at = math.inf

        return for_ever

    return _replace(Lifecycle, "give_place", give_place)


def no_backoff_between_calls() -> AbstractContextManager[object]:
    return mock.patch.object(lanes_module, "backoff_s", lambda *args, **kwargs: 0.0)


def no_backoff_between_starts() -> AbstractContextManager[object]:
    return mock.patch.object(lifecycle, "backoff_s", lambda *args, **kwargs: 0.0)


def retry_after_is_ignored() -> AbstractContextManager[object]:
    def postpone(original: Callable[..., None]) -> Callable[..., None]:
        def deaf(self: Lanes, lane: Lane, error: BaseException, now: float) -> None:
            original(self, lane, Retry(str(error)), now)

        return deaf

    return _replace(Lanes, "_postpone", postpone)


def answer_comes_before_the_fsync() -> AbstractContextManager[object]:
    return mock.patch.object(Gateway, "acknowledges_early", True)


def hung_processes_are_left_alone() -> AbstractContextManager[object]:
    def overdue(self: Lifecycle, slot: Slot, process: Process, now: float) -> None:
        process.deadline = now + 60.0

    return mock.patch.object(Lifecycle, "overdue", overdue)


def sleep_of_the_machine_counts_as_silence() -> AbstractContextManager[object]:
    return mock.patch.object(table_module, "ABSENT_S", math.inf)


def pause_is_not_remembered() -> AbstractContextManager[object]:
    def pause(original: Callable[..., None]) -> Callable[..., None]:
        def forgetful(self: Lifecycle, slot: Slot, now: float, *, reason: str) -> None:
            original(self, slot, now, reason=reason)
            slot.rest = slot.rest.REGISTERED

        return forgetful

    return _replace(Lifecycle, "pause", pause)


def failed_commit_forgets_what_it_gathered() -> AbstractContextManager[object]:
    def commit(original: Callable[[Commits], None]) -> Callable[[Commits], None]:
        def careless(self: Commits) -> None:
            gathered = self._gathered
            try:
                original(self)
            except Exception:
                self._gathered = Progress(gathered.cursor)
                raise

        return careless

    return _replace(Commits, "commit", commit)


def draining_one_is_started_again_at_once() -> AbstractContextManager[object]:
    def due(self: Slot, now: float) -> bool:
        busy = self.process is not None and not self.process.ending
        return self.wanted and not busy and (self.next_attempt_at is None or now >= self.next_attempt_at)

    return mock.patch.object(Slot, "due", due)


def sweep_takes_the_permitted_for_denied() -> AbstractContextManager[object]:
    def judge(original: Callable[..., None]) -> Callable[..., None]:
        def strict(self: Sweep, name: str, watch: Any, row: Any, histogram: Any) -> None:
            decide = self._decide
            self._decide = lambda id, combo: decide(id, combo) or "denied"
            original(self, name, watch, row, histogram)
            self._decide = decide

        return strict

    return _replace(Sweep, "_judge", judge)


def gap_in_the_log_is_overlooked() -> AbstractContextManager[object]:
    return mock.patch.object(Lanes, "expire", lambda self, count: None)


def two_starts_share_an_epoch() -> AbstractContextManager[object]:
    def spawn(original: Callable[..., None]) -> Callable[..., None]:
        def again(self: Lifecycle, slot: Slot, now: float) -> None:
            slot.known_epoch = max(0, slot.known_epoch - 1)
            original(self, slot, now)

        return again

    return _replace(Lifecycle, "spawn", spawn)


def letters_are_replayed_twice() -> AbstractContextManager[object]:
    return mock.patch.object(Commits, "_settle", lambda self: None)


def new_rows_are_not_looked_for() -> AbstractContextManager[object]:
    def fill(original: Callable[[Reader], int]) -> Callable[[Reader], int]:
        return lambda self: original(self) if not self._lanes.settlement.cursor else 0

    return _replace(Reader, "fill", fill)


def ledger_is_looked_at_once() -> AbstractContextManager[object]:
    return mock.patch.object(Gate, "refresh", lambda self: None if self.ledger.version else self.ledger.refresh())


def decisions_are_not_announced() -> AbstractContextManager[object]:
    return mock.patch.object(ModelDeciding, "add", lambda self, n: None)


def calls_are_entered_after_the_decision_has_ended() -> AbstractContextManager[object]:
    def add(original: Callable[[ModelDeciding, int], None]) -> Callable[[ModelDeciding, int], None]:
        def early(self: ModelDeciding, n: int) -> None:
            if n == -1:
                self.n_open = 1
            original(self, n)

        return early

    return _replace(ModelDeciding, "add", add)


def what_was_judged_stays_judged() -> AbstractContextManager[object]:
    def refused(original: Callable[[Gate, Part], dict[int, str]]) -> Callable[[Gate, Part], dict[int, str]]:
        return lambda self, part: {} if part.judged >= 0 else original(self, part)

    return _replace(Gate, "refused", refused)


def retries_are_not_judged() -> AbstractContextManager[object]:
    def sift(original: Callable[[Lanes, Gate, Lane], bool]) -> Callable[[Lanes, Gate, Lane], bool]:
        return lambda self, gate, lane: bool(lane.parts[0].attempts) or original(self, gate, lane)

    return _replace(Lanes, "_sift", sift)


def replays_are_not_judged() -> AbstractContextManager[object]:
    def sift(original: Callable[[Lanes, Gate, Lane], bool]) -> Callable[[Lanes, Gate, Lane], bool]:
        return lambda self, gate, lane: lane.replay or original(self, gate, lane)

    return _replace(Lanes, "_sift", sift)


def unreadable_ledger_is_taken_for_an_empty_one() -> AbstractContextManager[object]:
    def refused(original: Callable[[Gate, Part], dict[int, str]]) -> Callable[[Gate, Part], dict[int, str]]:
        def open_(self: Gate, part: Part) -> dict[int, str]:
            try:
                return original(self, part)
            except ConsentUnreadable:
                return {}

        return open_

    return _replace(Gate, "refused", refused)


def grant_reaches_back() -> AbstractContextManager[object]:
    return mock.patch.object(standing_module, "time_of", lambda mark: 0 if not mark & 1 else mark >> 1)


def deaths_are_not_remembered() -> AbstractContextManager[object]:
    return mock.patch.object(ModelFlight, "interrupted", lambda self: Interrupted([], [], []))


def one_death_alone_is_enough() -> AbstractContextManager[object]:
    return mock.patch.object(recovery, "DEATHS_TO_BURY", 1)


def suspects_go_out_with_others() -> AbstractContextManager[object]:
    return mock.patch.object(Lanes, "careful", False)


def event_is_given_up_by_age_alone() -> AbstractContextManager[object]:
    return mock.patch.object(pace, "GIVE_UP_ATTEMPTS", 1)


def sick_event_is_kept_for_ever() -> AbstractContextManager[object]:
    return mock.patch.object(Pace, "gives_up", lambda self, lane, now: False)


def presence_is_overlooked() -> AbstractContextManager[object]:
    return mock.patch.object(Router, "_is_present", lambda self, id: False)


FOUND_WITHIN: dict[Mutation, Sequence[int]] = {
    answer_comes_before_the_fsync: (1_574, 1_656, 1_854, 1_969),
    calls_are_entered_after_the_decision_has_ended: (192, 774, 1_253, 1_306),
    capacity_is_one_too_many: (0, 5, 6),
    cursor_is_committed_before_delivery: (0, 1, 2),
    dead_letter_counts_as_delivered: (7, 8, 17),
    deaths_are_not_remembered: (7, 41, 99, 106),
    decisions_are_not_announced: (192, 774, 1_253, 1_306),
    draining_one_is_started_again_at_once: (0, 1, 2),
    epoch_is_not_checked: (272, 371, 400, 943),
    event_is_given_up_by_age_alone: (21, 27, 151, 245),
    exit_of_an_older_epoch_is_believed: (159, 204, 306, 834),
    failed_commit_forgets_what_it_gathered: (17, 80, 93, 186),
    gap_in_the_log_is_overlooked: (0, 52, 73, 169),
    grant_reaches_back: (10, 36, 44),
    hung_processes_are_left_alone: (0, 24, 25, 27),
    lanes_do_not_own_their_subjects: (3, 7, 11, 15),
    ledger_is_looked_at_once: (1, 3, 7),
    letters_are_replayed_twice: (324, 1_011, 1_640, 1_672),
    new_rows_are_not_looked_for: (22, 73, 66),
    no_backoff_between_calls: (3, 7, 8),
    no_backoff_between_starts: (17, 25, 30),
    one_death_alone_is_enough: (7, 25, 36, 38),
    pause_is_not_remembered: (0, 9, 11),
    place_is_given_away_for_ever: (8, 27, 39, 68),
    presence_is_overlooked: (226, 328, 527, 1_127),
    replays_are_not_judged: (3_013, 6_249, 6_854),
    retries_are_not_judged: (1, 45, 68),
    retry_after_holds_nothing_else: (103, 150, 151, 155),
    retry_after_is_ignored: (62, 83, 103),
    retry_sends_the_newer_half_first: (8, 34, 103, 129),
    settled_events_go_out_again: (0, 4, 6),
    sick_event_is_kept_for_ever: (8, 21, 27),
    sleep_of_the_machine_counts_as_silence: (26, 319, 375),
    suspects_go_out_with_others: (7, 36, 147, 169),
    sweep_takes_the_permitted_for_denied: (0, 2, 4),
    two_starts_share_an_epoch: (0, 1, 2),
    undecided_is_allowed: (3, 6, 7),
    unreadable_ledger_is_taken_for_an_empty_one: (17, 23, 68),
    what_was_judged_stays_judged: (23, 45, 68),
    wish_for_one_that_is_ending_is_lost: (0, 1, 2),
}
"""Every planted mistake, and seeds each of which finds it: the first ones there are, or those that find it soon.
Several, so that a change which moves one does not hide it; `test_mutations` tells when it did.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, ConsentModel, OnUndecided, Requirement
from sluicegate.delivery.letters import LetterFilter
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from sluicegate.event import Combo
from tests.delivery.consenting import EVENT_MS, LATER_MS, identified, record, told
from tests.delivery.world import NO, World
from tests.doubles.vendor import Vendor

SILENT = Combo("track", "web")
DROP = ConsentConfig(on_undecided=OnUndecided.DROP)


def outcome(world: World) -> tuple[int, Mapping[str, int], int]:
    state = world.state()
    return state.delivered, state.denied, state.cursor


class Held:
    """A vendor whose first call lasts until it is released, and then fails or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.release = threading.Event()
        self._error = error

    def __call__(self, batch: Batch) -> None:
        if not self.release.is_set():
            assert self.release.wait(10)
            if self._error is not None:
                raise self._error


def test_statement_15_what_was_withdrawn_before_delivery_is_not_delivered(world: World) -> None:
    world.append("a", subject="anne")
    world.append("b", subject="ben")
    record(world.data_dir, [told(False, visitor="anne")])

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["b"]
    assert outcome(world) == (1, {"withdrawn": 1}, 2)


def test_statement_16_what_was_delivered_before_the_withdrawal_stays_delivered(world: World) -> None:
    world.append("a", subject="anne")
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    record(world.data_dir, [told(False, visitor="anne")])
    world.append("b", subject="anne")
    world.wait_caught_up()

    assert vendor.calls == [["a"]]
    assert outcome(world) == (1, {"withdrawn": 1}, 2)


def test_statement_17_what_was_refused_at_collection_is_never_delivered(world: World) -> None:
    record(world.data_dir, [told(True, visitor="anne", at_ms=EVENT_MS)])
    world.append("a", combo=NO, subject="anne")

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert (vendor.calls, outcome(world)) == ([], (0, {"consent_denied": 1}, 1))


def test_statement_21_an_event_is_judged_by_the_state_when_it_goes(world: World) -> None:
    world.append("a", subject="anne")
    record(world.data_dir, [told(True, visitor="anne", at_ms=EVENT_MS)])
    record(world.data_dir, [told(False, visitor="anne", at_ms=LATER_MS)])
    record(world.data_dir, [told(True, visitor="anne", at_ms=LATER_MS + 1)])

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert outcome(world) == (1, {}, 1)


def test_statement_22_an_event_that_was_offline_during_the_withdrawal_is_not_delivered(world: World) -> None:
    vendor = Vendor()
    world.start(vendor)
    record(world.data_dir, [told(False, visitor="anne", at_ms=LATER_MS)])

    world.append("offline", subject="anne")
    world.wait_caught_up()

    assert (vendor.calls, outcome(world)) == ([], (0, {"withdrawn": 1}, 1))


def test_what_the_event_leaves_open_is_completed_by_an_older_grant_alone(world: World) -> None:
    world.consent = ConsentConfig(ttl_s=0, on_undecided=OnUndecided.DROP)
    record(world.data_dir, [told(True, visitor="anne", at_ms=EVENT_MS), told(True, visitor="ben", at_ms=LATER_MS)])
    world.append("before-the-event", combo=SILENT, subject="anne")
    world.append("after-the-event", combo=SILENT, subject="ben")
    world.append("never", combo=SILENT, subject="cleo")

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["before-the-event"]
    assert outcome(world) == (1, {"consent_undecided": 2}, 3)


def test_statement_2_silence_means_yes_where_the_model_says_so(world: World) -> None:
    world.consent = ConsentConfig(model=ConsentModel.OPT_OUT)
    world.append("silent", combo=SILENT, subject="anne")
    world.append("refused", combo=NO, subject="ben")

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["silent"]
    assert outcome(world) == (1, {"consent_denied": 1}, 2)


def test_statement_28_waiting_events_are_judged_by_the_new_requirement(world: World) -> None:
    world.append("a", subject="anne")
    world.consent = DROP
    world.config = replace(world.config, requires=Requirement(("measurement", "marketing")))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert (vendor.calls, outcome(world)) == ([], (0, {"consent_undecided": 1}, 1))


def test_statement_30_the_next_attempt_leaves_out_what_was_withdrawn(world: World) -> None:
    for name in ("anne", "ben", "cleo"):
        world.append(name)
    answer = Held(Retry("busy", after_s=0.01))
    vendor = Vendor(answer)
    world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["anne", "ben", "cleo"]])

    record(world.data_dir, [told(False, visitor="ben")])
    answer.release.set()
    world.wait_caught_up()

    assert vendor.calls[1:] == [["anne", "cleo"]]
    assert outcome(world) == (2, {"withdrawn": 1}, 3)


def test_a_batch_that_is_withdrawn_as_a_whole_makes_room_for_the_next(world: World) -> None:
    world.append(*(f"a{i}" for i in range(25)), subject="anne")
    world.append("b", subject="ben")
    record(world.data_dir, [told(False, visitor="anne")])

    vendor = Vendor(limits=Limits(max_events=10, in_flight=1))
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.calls == [["b"]]
    assert outcome(world) == (1, {"withdrawn": 25}, 26)


def test_statement_31_a_withdrawal_holds_for_the_next_process(world: World) -> None:
    world.append("a", "b", subject="anne")
    answer = Held(Retry("busy"))
    first = Vendor(answer)
    worker = world.start(first)
    first.wait_for(lambda: len(first.calls) == 1)
    record(world.data_dir, [told(False, visitor="anne")])
    worker.stop(5.0)
    answer.release.set()
    assert worker.join(10)

    second = Vendor()
    world.start(second)
    world.wait_caught_up()

    assert (second.calls, outcome(world)) == ([], (0, {"withdrawn": 2}, 2))


def test_statement_32_events_wait_while_the_ledger_cannot_be_read(world: World) -> None:
    record(world.data_dir, [told(False, visitor="anne")])
    key = world.data_dir.consent_key.read_bytes()
    world.data_dir.consent_key.write_bytes(b"damaged")
    world.append("a", subject="anne")
    world.append("b", subject="ben")
    vendor = Vendor()
    worker = world.start(vendor)

    world.wait(lambda: (worker.snapshot().reason or "").startswith("blocked: the consent ledger cannot be read"))
    before = list(vendor.calls)
    world.data_dir.consent_key.write_bytes(key)
    world.wait_caught_up()

    assert (before, vendor.events, worker.snapshot().reason) == ([], ["b"], None)
    assert outcome(world) == (1, {"withdrawn": 1}, 2)


def test_statement_33_a_replay_of_what_was_withdrawn_is_counted_and_not_sent(world: World) -> None:
    def refuse(batch: Batch) -> None:
        raise Rejected("400")

    world.append_raw("a", b'{"anonymousId":"anne","timestamp":"2023-11-14T22:13:20Z"}', subject="anne")
    world.append_raw("b", b'{"anonymousId":"ben"}', subject="ben")
    world.start(Vendor(refuse))
    world.wait_caught_up()
    world.stop()
    store = world.store()
    store.letters.mark_replay(LetterFilter())
    record(world.data_dir, [told(False, visitor="anne")])

    vendor = Vendor()
    world.start(vendor)
    world.wait(lambda: store.state.dead == 0)

    assert vendor.events == ["b"]
    assert (store.state.delivered, store.state.denied) == (1, {"withdrawn": 1})
    store.close()


def test_statement_34_a_mixed_batch_sends_what_is_allowed_and_commits_past_all(world: World) -> None:
    for number in range(20):
        world.append(f"e{number}", subject="anne" if number % 2 else "ben")
    record(world.data_dir, [told(False, visitor="anne")])

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == [f"e{number}" for number in range(0, 20, 2)]
    assert outcome(world) == (10, {"withdrawn": 10}, 20)


def test_statement_40_a_user_who_refuses_has_refused_for_the_device_too(world: World) -> None:
    record(world.data_dir, [identified("anne", "user-anne"), told(False, visitor=None, user="user-anne")])
    world.append("a", subject="anne")
    world.append("b", subject="ben")

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["b"]


def test_statement_41_events_of_nobody_are_judged_by_their_stamp_alone(world: World) -> None:
    record(world.data_dir, [told(False, visitor="anne")])
    world.append_raw("a", b"{}", subject=None)

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["a"]

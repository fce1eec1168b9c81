from __future__ import annotations

import threading
from contextlib import closing, suppress

import apsw

from sluicegate.consent.regulation import Kind
from sluicegate.consent.subject import SubjectKeys
from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.delivery.erasing_store import erase_in_store
from sluicegate.delivery.letters import LetterFilter
from sluicegate.delivery.whose import Whose
from sluicegate.destinations.base import Batch
from sluicegate.errors import LogUnavailable, Rejected, Retry
from sluicegate.sqlite import transaction
from tests.delivery.consenting import record, told
from tests.delivery.erasing_harness import (
    ANNE,
    BEN,
    CANARY,
    append,
    ask,
    erase_all,
    traces,
    unfinished_in,
)
from tests.delivery.site import SILENT, now_ms
from tests.delivery.world import World
from tests.doubles.vendor import Answer, Vendor


def in_first_call(world: World, answer: Answer) -> Vendor:
    """A vendor that answers so, and whose destination's process stands in its first call."""
    vendor = Vendor(answer)
    world.start(vendor)
    vendor.wait_for(lambda: len(vendor.calls) == 1)
    return vendor


def test_statement_50_what_was_asked_to_be_erased_does_not_go_out_before_it_is_erased(world: World) -> None:
    release = threading.Event()
    append(world, BEN)
    vendor = in_first_call(world, lambda batch: release.wait(10))
    append(world, *[ANNE, BEN] * 50)

    ask(world.data_dir, ANNE)
    seen = wait_until_seen(world.data_dir.stores)
    release.set()
    world.wait_caught_up()

    assert seen.late == []
    assert [id_ for id_ in vendor.events if ANNE in id_] == []
    assert (world.state().delivered, world.state().denied) == (51, {"erased": 50})


def test_a_retry_of_what_was_in_flight_leaves_the_erased_events_out(world: World) -> None:
    release, failed = threading.Event(), threading.Event()

    def fail_first(batch: Batch) -> None:
        if not failed.is_set():
            release.wait(10)
            failed.set()
            raise Retry(f"broken by {ANNE}", after_s=0.01)

    append(world, ANNE, BEN)
    vendor = in_first_call(world, fail_first)

    ask(world.data_dir, ANNE)
    erase_all(world.data_dir)
    release.set()
    world.wait_caught_up()
    world.stop()

    assert [len(call) for call in vendor.calls] == [2, 1]
    assert world.state().denied == {"erased": 1}


def test_an_event_that_is_refused_after_it_was_erased_is_no_dead_letter(world: World) -> None:
    release = threading.Event()

    def refuse(batch: Batch) -> None:
        release.wait(10)
        raise Rejected({0: "bad", 1: "bad"})

    append(world, ANNE, BEN)
    in_first_call(world, refuse)
    ask(world.data_dir, ANNE)
    erase_all(world.data_dir)

    release.set()
    world.wait_caught_up()
    world.stop()

    assert (world.state().dead, world.state().denied) == (1, {"erased": 1})
    assert CANARY.encode() not in world.data_dir.store("vendor").read_bytes()


def test_replays_of_erased_events_do_not_go_out(world: World) -> None:
    def refuse(batch: Batch) -> None:
        raise Rejected("no")

    append(world, ANNE, BEN)
    world.start(Vendor(refuse))
    world.wait_caught_up()
    world.stop()
    store = world.store()
    store.letters.mark_replay(LetterFilter())
    store.close()

    ask(world.data_dir, ANNE)  # not erased from the files yet
    vendor = Vendor()
    world.start(vendor)
    vendor.wait_for(lambda: len(vendor.events) == 1)
    world.wait(lambda: world.state().dead == 0)

    assert [id_ for id_ in vendor.events if ANNE in id_] == []
    assert (world.state().delivered, world.state().denied) == (1, {"erased": 1})


def test_the_writing_of_events_goes_on_while_events_are_erased(world: World) -> None:
    for _ in range(40):
        append(world, *[ANNE, BEN] * 10, size=300)
    ask(world.data_dir, ANNE)

    def erase() -> None:
        while unfinished_in(world.data_dir):
            with suppress(LogUnavailable):  # a writer that never rests may keep the file for longer than anybody waits
                erase_all(world.data_dir)

    thread = threading.Thread(target=erase)

    thread.start()
    appended = 0
    while thread.is_alive():
        append(world, BEN)
        appended += 1
    thread.join()

    assert world.log.head() == 800 + appended
    assert traces(world.data_dir, ANNE, CANARY) == []


def test_an_event_of_the_erased_that_is_read_before_it_is_gone_is_not_held(world: World) -> None:
    append(world, ANNE, combo=SILENT, received_at_ms=now_ms())
    ask(world.data_dir, ANNE, kind=Kind.DELETE_ONLY)

    world.start(Vendor())
    world.wait(lambda: world.state().cursor == 1)

    assert (world.state().held, world.state().denied) == (0, {"erased": 1})


def test_a_held_event_that_is_refused_after_it_was_erased_is_no_dead_letter(world: World) -> None:
    release = threading.Event()

    def refuse(batch: Batch) -> None:
        release.wait(10)
        raise Rejected("bad")

    append(world, ANNE, combo=SILENT, received_at_ms=now_ms())
    vendor = Vendor(refuse)
    world.start(vendor)
    world.wait(lambda: world.state().held == 1)
    record(world.data_dir, [told(True, visitor=ANNE, at_ms=now_ms())])
    vendor.wait_for(lambda: len(vendor.calls) == 1)
    ask(world.data_dir, ANNE)
    erase_all(world.data_dir)

    release.set()
    world.wait(lambda: world.state().held == 0)
    world.stop()

    assert (world.state().dead, world.state().denied) == (0, {"erased": 1})
    assert CANARY.encode() not in world.data_dir.store("vendor").read_bytes()


def test_a_destination_can_write_while_the_log_is_read_for_what_vendors_said(world: World) -> None:
    def fail(batch: Batch) -> None:
        raise Retry(f"broken by {ANNE}", after_s=60.0)

    append(world, ANNE, BEN)
    in_first_call(world, fail)
    world.stop()
    path, n_read = world.data_dir.store("vendor"), 0

    def was_erased(offset: int) -> bool:
        nonlocal n_read
        n_read += 1
        with closing(apsw.Connection(str(path))) as destination, transaction(destination):
            return True

    ask(world.data_dir, ANNE)
    erase_in_store(path, Whose((), SubjectKeys(b"")), was_erased, up_to=2)

    assert n_read > 0
    assert ANNE.encode() not in path.read_bytes()


def test_what_a_vendor_said_does_not_come_back_from_a_process_that_still_waits_to_try_again(world: World) -> None:
    def fail(batch: Batch) -> None:
        raise Retry(f"broken by {ANNE}", after_s=60.0)

    append(world, ANNE, BEN)
    vendor = Vendor(fail)
    world.start(vendor)
    world.wait(lambda: len(traces(world.data_dir, "broken by")) > 0)

    ask(world.data_dir, ANNE)
    erase_all(world.data_dir)
    world.stop()

    assert traces(world.data_dir, ANNE) == []

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from sluicegate.consent.regulation import Kind, SubjectKind
from sluicegate.delivery.erasing import Eraser
from sluicegate.delivery.regulating import ErasingThread, described, overall_status, put_in_force
from tests.delivery.erasing_harness import ANNE, BEN, CANARY, append, regulation, traces
from tests.delivery.world import World
from tests.doubles.vendor import Vendor


def test_what_was_put_in_force_is_erased_by_the_thread_and_told_in_segments_words(world: World) -> None:
    append(world, ANNE, BEN)
    world.start(Vendor())
    world.wait_caught_up()

    asked = put_in_force(world.data_dir, Kind.SUPPRESS_WITH_DELETE, SubjectKind.ANONYMOUS_ID, [ANNE])
    thread = ErasingThread(world.data_dir, settle_s=0)
    thread.start()
    world.wait(lambda: regulation(world.data_dir, asked.regulation.id).finished_at_ms > 0)
    thread.stop()

    told = described(regulation(world.data_dir, asked.regulation.id))
    (stream,) = told["streamStatus"]
    assert (asked.late, overall_status(asked.regulation), told["overallStatus"]) == ([], "RUNNING", "PARTIAL_SUCCESS")
    assert [(one["id"], one["status"]) for one in stream["destinationStatus"]] == [("vendor", "NOT_SUPPORTED")]
    assert (told["regulationType"], told["erased"]["events"]) == ("SUPPRESS_WITH_DELETE", 1)
    assert traces(world.data_dir, ANNE, CANARY) == []


def test_a_regulation_is_finished_when_no_destination_had_got_anything(world: World) -> None:
    append(world, ANNE)

    asked = put_in_force(world.data_dir, Kind.DELETE_ONLY, SubjectKind.ANONYMOUS_ID, [ANNE])
    thread = ErasingThread(world.data_dir, settle_s=0)
    thread.start()
    world.wait(lambda: regulation(world.data_dir, asked.regulation.id).finished_at_ms > 0)
    thread.stop()

    assert overall_status(regulation(world.data_dir, asked.regulation.id)) == "FINISHED"


def test_suppressions_are_finished_at_once(world: World) -> None:
    asked = put_in_force(world.data_dir, Kind.SUPPRESS_ONLY, SubjectKind.USER_ID, ["anne"])

    assert overall_status(asked.regulation) == "FINISHED"
    assert described(asked.regulation)["streamStatus"] == []


def test_the_log_is_read_once_while_something_else_cannot_be_erased(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append(world, ANNE)
    world.data_dir.stores.mkdir(exist_ok=True)
    damaged, n_rows = world.data_dir.store("broken"), 0
    damaged.write_bytes(b"no database" * 1_000)
    erase_row = Eraser._erase_row

    def counting(*arguments: Any) -> bool:
        nonlocal n_rows
        n_rows += 1
        return erase_row(*arguments)

    monkeypatch.setattr(Eraser, "_erase_row", counting)
    monkeypatch.setattr("sluicegate.delivery.regulating.LOOK_EVERY_S", 0.01)
    asked = put_in_force(world.data_dir, Kind.DELETE_ONLY, SubjectKind.ANONYMOUS_ID, [ANNE])
    thread = ErasingThread(world.data_dir, settle_s=0)
    thread.start()
    world.wait(lambda: caplog.text.count("has to wait") >= 3)
    damaged.unlink()
    world.wait(lambda: regulation(world.data_dir, asked.regulation.id).finished_at_ms > 0)
    thread.stop()

    assert n_rows == 1
    assert traces(world.data_dir, ANNE, CANARY) == []


def test_erasing_that_cannot_go_on_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sluicegate")
    held, arrived = threading.Event(), threading.Event()

    def serve(_: ErasingThread) -> None:
        arrived.set()
        held.wait(60)

    monkeypatch.setattr(ErasingThread, "_serve", serve)
    put_in_force(world.data_dir, Kind.SUPPRESS_ONLY, SubjectKind.USER_ID, ["anne"])
    thread = ErasingThread(world.data_dir)
    thread.start()
    assert arrived.wait(60)

    try:
        thread.stop(timeout_s=0.01)
        assert "erasing does not end within 0.01 s" in caplog.text
    finally:
        held.set()

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sluicegate.config.model import DestinationConfig, Requirement, config_hash
from sluicegate.config.secret import Secret
from sluicegate.delivery.lanes import RETRY_BASE_S
from sluicegate.delivery.letters import DeadLetter, LetterFilter
from sluicegate.delivery.report import Report, ReportKind
from sluicegate.destinations.base import Batch
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from tests.delivery.consenting import record, told
from tests.delivery.world import YES, World
from tests.doubles.vendor import Vendor


def test_rejected_event_becomes_a_dead_letter_with_everything_a_replay_needs(world: World) -> None:
    def answer(batch: Batch) -> None:
        if "bad" in batch.message_ids:
            raise Rejected("400: no such user")

    world.append("a", "bad", "b")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()

    store = world.store()
    (letter,) = store.letters.list()
    store.close()
    assert (letter.offset, letter.message_id, letter.event, letter.combo) == (2, "bad", b'{"id":"bad"}', YES)
    assert letter.reason == "400: no such user"
    assert 0 < letter.first_attempt_at_ms <= letter.last_attempt_at_ms <= letter.entered_at_ms
    assert (world.state().delivered, world.state().dead) == (2, 1)


def test_dead_letter_names_the_configuration_and_the_decisions_that_its_last_call_went_by(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise Rejected("400")

    first = record(world.data_dir, [told(True, visitor="anne")])
    world.append("a", subject="anne")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()
    before = letters(world)
    second = record(world.data_dir, [told(True, visitor="ben")])
    world.config = replace(world.config, settings={"key": Secret("another")})
    store = world.store()
    store.letters.mark_replay()
    world.start(Vendor(answer))
    world.wait(lambda: store.letters.list()[0].attempts == 2)
    store.close()

    (one,), (again,) = before, letters(world)
    assert (one.config_hash, one.ledger_version, one.epoch) == (config_hash(plain(world.config)), first, 1)
    assert (again.config_hash, again.ledger_version, again.epoch) == (config_hash(world.config), second, 2)
    assert one.config_hash != again.config_hash


def test_each_of_several_letters_names_the_decisions_it_went_by(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def answer(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(10)
        raise Rejected("400")

    first = record(world.data_dir, [told(True, visitor="anne")])
    world.append("a", subject="anne")
    world.start(Vendor(answer))
    assert entered.wait(10)
    second = record(world.data_dir, [told(True, visitor="ben")])
    world.append("b", subject="ben")
    go_on.set()
    world.wait_caught_up()
    world.stop()

    assert [(one.message_id, one.ledger_version) for one in letters(world)] == [("a", first), ("b", second)]


def plain(config: DestinationConfig) -> DestinationConfig:
    return replace(config, settings={})


def letters(world: World) -> Sequence[DeadLetter]:
    store = world.store()
    try:
        return store.letters.list()
    finally:
        store.close()


def test_replayed_letter_is_delivered_and_one_that_lost_consent_is_denied(world: World) -> None:
    bad = True

    def answer(batch: Batch) -> None:
        if bad:
            raise Rejected("400")

    world.append("a", subject="s")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()
    bad = False
    store = world.store()
    store.letters.mark_replay(LetterFilter())

    vendor = Vendor(answer)
    world.start(vendor)
    vendor.wait_for(lambda: vendor.events == ["a"])
    world.wait(lambda: store.state.delivered == 1)

    assert (store.state.dead, list(store.letters.list())) == (0, [])
    store.close()


def test_replay_without_consent_is_denied(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise Rejected("400")

    world.append("a")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()
    store = world.store()
    store.letters.mark_replay(LetterFilter())
    world.config = DestinationConfig("vendor", "vendor", Requirement(("marketing",)))

    vendor = Vendor()
    world.start(vendor)
    world.wait(lambda: store.state.dead == 0)

    assert (store.state.denied, vendor.calls) == ({"consent_undecided": 1}, [])
    store.close()


def test_failed_call_is_repeated_and_its_error_shows_without_secrets(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_BASE_S", 0.01)
    assert RETRY_BASE_S == 1.0
    fail = threading.Event()

    def answer(batch: Batch) -> None:
        if not fail.is_set():
            raise RuntimeError("key hunter2-secret refused " + "x" * 1_000)

    world.append("a")
    vendor = Vendor(answer)
    worker = world.start(vendor)
    vendor.wait_for(lambda: len(vendor.calls) >= 2)
    world.wait(lambda: worker.snapshot().error is not None)
    error = worker.snapshot().error or ""
    fail.set()
    world.wait_caught_up()

    assert error.startswith("RuntimeError: key *** refused")
    assert len(error) == 500
    assert worker.snapshot().error is None
    assert vendor.events == ["a"]


def test_refused_credentials_halt_the_worker_and_lose_nothing(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise CredentialsRefused("401 for hunter2-secret")

    world.append("a")
    worker = world.start(Vendor(answer))

    assert worker.join(10)
    assert [world.next_report() for _ in range(2)] == [
        Report(ReportKind.LOADED),
        Report(ReportKind.HALTED, "401 for ***"),
    ]
    assert (world.state().cursor, world.state().dead) == (0, 0)


def test_retry_after_is_kept(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise Retry("429", after_s=3_000)

    world.append("a")
    vendor = Vendor(answer)
    worker = world.start(vendor)
    world.wait(lambda: worker.snapshot().error == "429")

    worker.stop(5.0)

    assert worker.join(10)
    assert len(vendor.calls) == 1

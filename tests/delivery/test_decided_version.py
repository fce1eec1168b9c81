from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.config.model import ConsentConfig, ConsentModel
from sluicegate.consent.evidence import Entry
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import SubjectConsent
from sluicegate.delivery.settlement import HeldRow, Settlement
from sluicegate.destinations.base import Batch
from sluicegate.event import Combo, EventBatch
from sluicegate.proof import decisions_about
from sluicegate.testing.batches import add_event
from tests.delivery.consenting import EVENT_MS, record, told
from tests.delivery.site import Site, now_ms, says
from tests.delivery.world import YES, World
from tests.doubles.vendor import Vendor

SILENT = Combo("track", "web")
OPT_OUT = ConsentConfig(model=ConsentModel.OPT_OUT)
FOREVER = ConsentConfig(ttl_s=1e10)
Write = Callable[..., None]
Arm = Callable[[str, str], threading.Event]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.stop()
    world.bell.close()
    world.log.close()


@pytest.fixture
def when_looked_up(world: World, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Another process writes to the ledger just before a visitor is looked up, each entry once."""
    look_up = LedgerReader.of_many
    due: list[tuple[str, Sequence[Entry]]] = []

    def of_many(reader: LedgerReader, subjects: Sequence[tuple[str | None, str | None]]) -> Sequence[SubjectConsent]:
        if due and any(visitor == due[0][0] for _, visitor in subjects):
            record(world.data_dir, due.pop(0)[1])
        return look_up(reader, subjects)

    monkeypatch.setattr(LedgerReader, "of_many", of_many)
    return lambda visitor, *entries: due.append((visitor, entries))


def decided(world: World, offset: int) -> tuple[str, int]:
    entries = decisions_about(world.data_dir.store("vendor"), offset)
    assert entries is not None
    return entries[-1].word, entries[-1].version


def test_denial_that_is_told_during_the_look_up_is_told_by_its_own_version(world: World, when_looked_up: Write) -> None:
    record(world.data_dir, [told(True, visitor="zoe")])
    world.append("a", subject="anne")
    when_looked_up("anne", told(False, visitor="anne"))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == []
    assert decided(world, 1) == ("denied:withdrawn", 2)


def test_grant_that_is_told_during_the_look_up_is_told_by_its_own_version(world: World, when_looked_up: Write) -> None:
    world.consent = FOREVER
    record(world.data_dir, [told(True, visitor="zoe")])
    world.append("a", subject="anne", combo=SILENT)
    when_looked_up("anne", told(True, visitor="anne", at_ms=EVENT_MS - 1))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["a"]
    assert decided(world, 1) == ("delivered", 2)


def test_silent_event_is_denied_by_the_version_that_denied_it(world: World, when_looked_up: Write) -> None:
    world.consent = OPT_OUT
    record(world.data_dir, [told(True, visitor="zoe")])
    world.append("a", subject="anne", combo=SILENT)
    world.append("b", subject="ben", combo=SILENT)
    when_looked_up("anne", told(False, visitor="anne"))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["b"]
    assert [decided(world, offset)[1] for offset in (1, 2)] == [2, 2]


def test_call_goes_out_by_one_version_for_all_its_events(world: World, when_looked_up: Write) -> None:
    record(world.data_dir, [told(True, visitor="zoe")])
    world.append("a", subject="anne")
    world.append("b", subject="ben")
    when_looked_up("ben", told(False, visitor="anne"))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["b"]
    assert [decided(world, offset) for offset in (1, 2)] == [("denied:withdrawn", 2), ("delivered", 2)]


def test_what_somebody_else_decides_meanwhile_makes_no_difference(world: World, when_looked_up: Write) -> None:
    record(world.data_dir, [told(True, visitor="zoe")])
    for visitor in ("anne", "ben", "cleo", "dora"):
        world.append(visitor, subject=visitor)
        when_looked_up(visitor, told(False, visitor=f"not {visitor}"))

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["anne", "ben", "cleo", "dora"]
    assert len({decided(world, offset) for offset in (1, 2, 3, 4)}) == 1


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("sluicegate.delivery.loop.LOOK_EVERY_S", 0.02)
    site = Site(tmp_path / "site")
    yield site
    site.stop()
    site.bell.close()
    site.log.close()


@pytest.fixture
def decide_before(site: Site, monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Another process records a grant just before a visitor is looked up; the event says that it has."""
    look_up = LedgerReader.of_many
    due: list[tuple[str, str, threading.Event]] = []

    def of_many(reader: LedgerReader, subjects: Sequence[tuple[str | None, str | None]]) -> Sequence[SubjectConsent]:
        if due and any(visitor == due[0][0] for _, visitor in subjects):
            _, granted, done = due.pop(0)
            site.decide(says(True, granted))
            done.set()
        return look_up(reader, subjects)

    monkeypatch.setattr(LedgerReader, "of_many", of_many)

    def arm(looked_up: str, granted: str) -> threading.Event:
        due.append((looked_up, granted, threading.Event()))
        return due[-1][2]

    return arm


def test_grant_that_is_told_while_another_is_followed_releases_what_is_held(
    site: Site, decide_before: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    both_held, release = threading.Event(), threading.Event()
    hold = Settlement.hold

    def note(settlement: Settlement, rows: Iterable[HeldRow]) -> None:
        rows = list(rows)
        hold(settlement, rows)
        held.extend(row.offset for row in rows)
        if len(held) == 2:
            both_held.set()

    def answer(batch: Batch) -> None:
        assert batch.message_ids != ["first"] or release.wait(10)

    monkeypatch.setattr(Settlement, "hold", note)
    vendor = Vendor(answer)
    site.collect("first", subject="zoe", combo=YES)
    site.collect("a", subject="anne")
    site.collect("b", subject="ben")
    site.start(vendor)
    assert both_held.wait(10)

    granted = decide_before("anne", "ben")
    site.decide(says(True, "anne"))
    assert granted.wait(10)
    release.set()

    site.until_account(0, 3, {})


def test_grant_that_is_told_while_newer_events_are_read_releases_older_ones_first(
    site: Site, decide_before: Arm
) -> None:
    vendor = Vendor()
    site.decide(says(True, "zoe"))
    site.collect("a", subject="anne")
    site.start(vendor)
    site.until_account(1, 0, {})
    row, at_ms = EventBatch(), now_ms()
    for id_, visitor in (("b", "anne"), ("x", "ben")):
        raw = b'{"id":"%s"}' % id_.encode()
        add_event(row, raw, message_id=id_, combo=SILENT, anonymous_id=visitor, time_ms=at_ms - 1_000)

    decide_before("ben", "anne")
    site.log.append([row], received_at_ms=at_ms)
    site.bell.ring()

    site.until_account(1, 2, {})
    assert vendor.events == ["a", "b"]

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.acceptance import Acceptor
from sluicegate.acceptance.collecting import Collector, UnderWay
from sluicegate.acceptance.times import write_ms
from sluicegate.config.model import GatewayConfig
from sluicegate.consent.collected import REFRESH_MS
from sluicegate.consent.evidence import Entry, Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.regulation import Kind, SubjectKind, regulate
from sluicegate.consent.requirement import State
from sluicegate.consent.slots import Slot, Write
from sluicegate.consent.standing import Rules, SubjectConsent
from sluicegate.consent.subject import Subject
from sluicegate.event import EventBatch
from sluicegate.testing.batches import add_event
from tests.consent.test_tcf import core, written

T = 1_800_000_000_000
G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED


class World:
    """A ledger, and events that are accepted; what they say is written as it is given out."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger(root / "consent.db", root / "consent.key")
        self.reader = LedgerReader(root / "consent.db", root / "consent.key", Rules())
        self._acceptor = Acceptor(GatewayConfig())
        self.collector = Collector(self.reader)

    def take(self, *, at_ms: int = T, granted: bool | None = True, **members: Any) -> list[Entry]:
        event = {"type": "track", "event": "E", "messageId": "m", "anonymousId": "phone", **members}
        stamp = {} if granted is None else {"consent": {"marketing": granted, **members.get("consent", {})}}
        event = {"timestamp": write_ms(at_ms), **event, **stamp}
        acceptance = self._acceptor.accept_events(
            [msgspec.json.encode(event)], consent=None, source="web", received_at_ms=at_ms
        )
        assert acceptance.rejected == []
        entries = self.collector.collect(acceptance.batch, received_ms=at_ms)
        self.ledger.record(entries, now_ms=at_ms)
        return entries

    def erase(self, user: str) -> None:
        regulate(self.ledger, "r1", Kind.DELETE_ONLY, SubjectKind.USER_ID, [user], head=9, now_ms=T)

    def consent(self, anonymous: str = "phone") -> SubjectConsent:
        return self.reader.of_many([Subject(None, anonymous)])[0]

    def state(self, *, user: str | None = None, anonymous: str | None = "phone", now_ms: int = T) -> State:
        self.reader.refresh()
        known = self.reader.of_many([Subject(user, anonymous)])[0]
        return known.standings(gpc=True, now_ms=now_ms).of("marketing").state


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.reader.close()
    world.ledger.close()


def test_a_dated_stamp_is_written_once(world: World) -> None:
    dated = [world.take(at_ms=T + n, consent={"givenAt": T}) for n in range(3)]

    assert [len(entries) for entries in dated] == [1, 0, 0]
    assert world.state() is G


def test_an_undated_stamp_is_written_once_and_again_after_a_minute(world: World) -> None:
    first = world.take(at_ms=T)
    again = [world.take(at_ms=T + n) for n in range(1, 5)]
    later = world.take(at_ms=T + 1 + REFRESH_MS)
    last = [world.take(at_ms=T + 2 + n * REFRESH_MS) for n in (2, 3)]

    assert [len(entries) for entries in (first, *again, later, *last)] == [1, 0, 0, 0, 0, 1, 0, 1]
    assert world.state() is G


def test_a_stamp_that_is_known_is_not_looked_at_again_whatever_the_type_of_event(world: World) -> None:
    world.take(at_ms=T)
    world.take(at_ms=T + 1)
    after = [world.take(at_ms=T + n, type=kind) for n, kind in ((2, "page"), (3, "track"))]

    assert after == [[], []]
    assert world.consent().settled_until_ms == T + 1 + REFRESH_MS


def test_a_stamp_that_was_known_is_looked_at_again_after_a_decision(world: World) -> None:
    quiet = [world.take(at_ms=T + n) for n in range(1, 5)][-1]
    phone = Subject(anonymous_id="phone")
    denies = decision({"marketing": False}, T + 5, received_ms=T + 5)
    world.ledger.record([Told(phone, denies, Evidence.API)], now_ms=T + 5)

    world.take(at_ms=T + 6)

    assert quiet == []
    assert world.collector.counts.conflicts == 1


def test_statement_24_a_site_that_only_stamps_is_granted_from_the_newer_event_on(world: World) -> None:
    world.take(at_ms=T, granted=False)
    refused = world.state()
    world.take(at_ms=T + 1, granted=True)

    assert (refused, world.state()) == (D, G)


def test_statement_23_the_other_device_that_grants_without_a_date_is_a_conflict(world: World) -> None:
    no = Told(Subject("anne", "laptop"), decision({"marketing": False}, T, received_ms=T), Evidence.API)
    world.ledger.record([no], now_ms=T)
    for n in range(1, 4):
        world.take(at_ms=T + n, userId="anne")
    older = world.take(at_ms=T + 5, userId="anne", consent={"givenAt": T - 1})
    conflicts = world.collector.counts.conflicts
    world.take(at_ms=T + 6, userId="anne", consent={"givenAt": T + 6})

    assert (conflicts, world.collector.counts.conflicts, len(older)) == (4, 4, 1)
    assert world.state(user="anne", now_ms=T + 9) is G


def test_statement_23_a_stale_refusal_of_one_device_does_not_block_the_others_newer_grant(world: World) -> None:
    grant = Told(Subject("anne", "laptop"), decision({"marketing": True}, T + 5, received_ms=T + 9), Evidence.API)
    world.ledger.record([grant], now_ms=T + 9)
    world.take(at_ms=T + 9, userId="anne", granted=False, consent={"givenAt": T})

    assert world.state(user="anne", anonymous="laptop", now_ms=T + 10) is G


HOUR_MS = 3_600_000
DAY = T // (24 * HOUR_MS) * 24 * HOUR_MS


def tc_string(*purposes: int) -> str:
    """Updated on that day, which is all that it says."""
    return written(core(created=DAY // 100, updated=DAY // 100, purposes=purposes))


def test_statement_23_a_tc_refusal_at_16_beats_an_explicit_grant_at_10_of_the_same_day(world: World) -> None:
    grant = decision({"marketing": True}, DAY + 10 * HOUR_MS, received_ms=DAY + 10 * HOUR_MS)
    world.ledger.record([Told(Subject(None, "phone"), grant, Evidence.API)], now_ms=T)
    world.take(at_ms=DAY + 16 * HOUR_MS, granted=None, gdpr_consent=tc_string(1, 7, 8, 9))

    assert world.state(now_ms=DAY + 17 * HOUR_MS) is D


def test_statement_23_a_tc_grant_does_not_beat_an_explicit_refusal_of_the_same_day(world: World) -> None:
    refusal = decision({"marketing": False}, DAY + 10 * HOUR_MS, received_ms=DAY + 10 * HOUR_MS)
    world.ledger.record([Told(Subject(None, "phone"), refusal, Evidence.API)], now_ms=T)
    world.take(at_ms=DAY + 16 * HOUR_MS, granted=None, gdpr_consent=tc_string(1, 2, 3, 4))

    assert world.state(now_ms=DAY + 17 * HOUR_MS) is D
    assert world.collector.counts.conflicts == 1


def test_statement_45_a_tc_string_that_stays_the_same_is_written_once(world: World) -> None:
    def take(minute: int) -> int:
        at_ms = DAY + 16 * HOUR_MS + minute * 60_000
        return len(world.take(at_ms=at_ms, granted=None, gdpr_consent=tc_string(1, 2, 3, 4)))

    written_first = [take(0), take(0), take(0)]

    assert written_first == [1, 0, 0]
    assert world.state(now_ms=DAY + 17 * HOUR_MS) is G


def test_statement_23_one_devices_undated_refusal_does_not_flip_another(world: World) -> None:
    grant = Told(Subject("anne", "laptop"), decision({"marketing": True}, T, received_ms=T), Evidence.API)
    world.ledger.record([grant], now_ms=T)
    world.take(at_ms=T + 9, userId="anne", granted=False)

    assert world.state(user="anne", anonymous="laptop", now_ms=T + 10) is G
    assert world.state(user="anne", anonymous="phone", now_ms=T + 10) is D


def test_a_decision_is_written_under_the_user_too_when_the_device_is_known_to_have_taken_it(world: World) -> None:
    world.take(at_ms=T, granted=False, consent={"givenAt": T})
    world.take(at_ms=T + 1, granted=False, userId="anne", consent={"givenAt": T})

    assert world.state(user="anne", anonymous="tablet", now_ms=T + 2) is D


def test_a_refusal_that_outlives_a_decision_is_written_at_once(world: World) -> None:
    world.take(at_ms=T, granted=False)
    grant = decision({"marketing": True}, T + 100, received_ms=T + 100)
    world.ledger.record([Told(Subject(None, "phone"), grant, Evidence.API)], now_ms=T)
    for at_ms in (T + 50, T + 60, T + 120):
        world.take(at_ms=at_ms, granted=False)

    assert world.state(now_ms=T + 200) is D


def test_statement_23_an_undated_stamp_does_not_override_an_explicit_denial(world: World) -> None:
    told = Told(Subject(None, "phone"), {}, Evidence.API)
    world.take(at_ms=T)
    world.ledger.record([told._replace(writes=decision({"marketing": False}, T + 5, received_ms=T + 5))], now_ms=T)
    world.take(at_ms=T + 10)
    undated = world.state()
    world.take(at_ms=T + 20, consent={"givenAt": T + 1})
    older = world.state()
    world.take(at_ms=T + 30, consent={"givenAt": T + 15})

    assert (undated, older, world.state(now_ms=T + 40)) == (D, D, G)


def test_statement_40_identify_makes_the_visitors_refusal_the_users(world: World) -> None:
    no = decision({"marketing": False}, T, received_ms=T)
    world.ledger.record([Told(Subject(None, "phone"), no, Evidence.API)], now_ms=T)
    before = world.state(user="anne", anonymous=None)

    entries = world.take(type="identify", userId="anne", granted=None)
    again = world.take(type="identify", userId="anne", granted=None)

    assert ([type(entry) for entry in entries], again) == ([Link], [])
    assert (before, world.state(user="anne", anonymous=None)) == (U, D)


def test_identify_links_ids_again_that_were_erased_since(world: World) -> None:
    told = [world.take(at_ms=T + n, type="identify", userId="anne", granted=None) for n in range(2)]
    world.erase("anne")
    again = world.take(at_ms=T + 3, type="identify", userId="anne", granted=None)
    refusal = Told(Subject("anne"), decision({"marketing": False}, T + 4, received_ms=T + 4), Evidence.API)
    world.ledger.record([refusal], now_ms=T + 4)

    assert ([len(entries) for entries in told], len(again)) == ([1, 0], 1)
    assert world.state() is D


def test_alias_links_the_previous_id(world: World) -> None:
    entries = world.take(type="alias", userId="anne", previousId="old", granted=None)

    assert [(entry.member, entry.owner) for entry in entries if isinstance(entry, Link)] == [
        (Subject("old", "old"), "anne")
    ]


def test_the_event_about_a_decision_is_a_decision(world: World) -> None:
    preferences = {"consent": {"categoryPreferences": {"marketing": False}}}
    entries = world.take(event="Segment Consent Preference Updated", context=preferences, granted=None)

    assert [entry.evidence for entry in entries] == [Evidence.PREFERENCE_EVENT]
    assert world.state() is D


def test_events_that_say_nothing_cost_no_look_up(world: World) -> None:
    assert world.take(granted=None) == []
    assert world.reader.version == 0


def test_what_was_kept_back_is_written_at_the_end(world: World) -> None:
    world.take(at_ms=T)
    world.take(at_ms=T + 7)

    (told,) = world.collector.rest()

    assert told.writes["marketing"] == (Write(Slot.SEEN, True, T + 7),)
    assert world.collector.rest() == []


@pytest.mark.parametrize("at_the_end", [False, True])
def test_what_was_kept_back_of_somebody_is_not_written_after_erasing(world: World, at_the_end: bool) -> None:
    for n in (0, 1):
        world.take(at_ms=T + n, userId="anne")
    regulate(world.ledger, "r1", Kind.DELETE_ONLY, SubjectKind.ANONYMOUS_ID, ["phone"], head=9, now_ms=T)

    later = T + REFRESH_MS + 2
    late = world.collector.rest() if at_the_end else world.take(at_ms=later, anonymousId="laptop")

    assert [entry for entry in late if isinstance(entry, Told) and entry.subject.anonymous_id == "phone"] == []
    assert world.state(now_ms=later) is U


def batch_of(*ids: tuple[str | None, str | None]) -> EventBatch:
    batch = EventBatch()
    for number, (user_id, anonymous_id) in enumerate(ids):
        add_event(batch, b"{}", message_id=str(number), user_id=user_id, anonymous_id=anonymous_id)
    return batch


def test_events_of_somebody_whose_events_wait_for_the_ledger_wait_too() -> None:
    under_way = UnderWay()
    first, second = batch_of(("anne", "phone")), batch_of((None, "phone"))
    under_way.add(first)
    under_way.add(second)

    assert under_way.must_wait(batch_of(("anne", None), ("bob", None)))
    assert not under_way.must_wait(batch_of(("bob", None), (None, "tablet")))
    under_way.remove(first)
    assert not under_way.must_wait(batch_of(("anne", None)))
    assert under_way.must_wait(batch_of(("anne", "phone")))
    under_way.remove(second)
    assert not under_way.must_wait(first)

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import StoreState
from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, OnUndecided, Requirement
from sluicegate.consent.evidence import Entry, Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.destinations.base import Batch
from sluicegate.errors import NotReady, Rejected, Retry
from sluicegate.event import Combo, EventBatch
from sluicegate.testing.batches import add_event
from tests.delivery.test_worker import YES, World
from tests.doubles.vendor import Vendor

SILENT = Combo("track", "web")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def says(granted: bool, visitor: str | None = "anne", *, user: str | None = None, at_ms: int = 0) -> Told:
    at_ms = at_ms or now_ms()
    writes = decision({"measurement": granted, "marketing": granted}, at_ms, received_ms=at_ms)
    return Told(Subject(user, visitor), writes, Evidence.API, "web")


class Site(World):
    """A destination whose events arrive now and happened a second ago."""

    def collect(
        self, *ids: str, subject: str | None = "anne", combo: Combo = SILENT, user: str | None = None, age_ms: int = 0
    ) -> None:
        batch, at_ms = EventBatch(), now_ms() - age_ms
        for id_ in ids:
            event = b'{"id":"%s"}' % id_.encode()
            add_event(
                batch, event, message_id=id_, combo=combo, anonymous_id=subject, user_id=user, time_ms=at_ms - 1_000
            )
        self.log.append([batch], received_at_ms=at_ms)
        self.bell.ring()

    def decide(self, *entries: Entry) -> None:
        ledger = Ledger(self.data_dir.consent, self.data_dir.consent_key)
        ledger.record(list(entries), now_ms=now_ms())
        ledger.close()

    def account(self) -> tuple[int, int, dict[str, int]]:
        state = self.balanced()
        return state.held, state.delivered, dict(state.denied)

    def balanced(self) -> StoreState:
        state = self.state()
        assert state.cursor - state.start == state.held + state.delivered + state.dead + state.expired + sum(
            state.denied.values()
        )
        return state

    def until_account(self, held: int, delivered: int, denied: dict[str, int]) -> None:
        self.wait(lambda: self.account() == (held, delivered, denied))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("sluicegate.delivery.loop.LOOK_EVERY_S", 0.02)
    site = Site(tmp_path)
    yield site
    site.stop()
    site.bell.close()
    site.log.close()


def hold(site: Site, vendor: Vendor, *ids: str) -> None:
    site.collect(*ids)
    site.start(vendor)
    site.wait_caught_up()


def test_statement_3_what_nobody_has_decided_is_held_and_not_delivered(site: Site) -> None:
    vendor = Vendor()

    hold(site, vendor, "a", "b")

    assert (vendor.calls, site.account()) == ([], (2, 0, {}))


def test_statement_18_a_grant_releases_in_order_and_before_newer_events(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a", "b")
    site.collect("c")
    site.wait_caught_up()

    site.decide(says(True))
    site.collect("d")

    site.until_account(0, 4, {})
    assert vendor.events == ["a", "b", "c", "d"]


def test_statement_18_a_released_event_is_sent_as_it_was_collected(site: Site) -> None:
    payloads: list[bytes] = []
    vendor = Vendor(lambda batch: payloads.append(batch.joined()))
    hold(site, vendor, "a")

    site.decide(says(True))

    site.until_account(0, 1, {})
    assert payloads == [b'{"id":"a"}']


def test_a_grant_releases_nobody_elses_events(site: Site) -> None:
    vendor = Vendor()
    site.collect("b", subject="ben")
    hold(site, vendor, "a")

    site.decide(says(True, "ben"))

    site.until_account(1, 1, {})
    assert vendor.events == ["b"]


def test_statement_20_a_denial_deletes_what_is_held(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a", "b")

    site.decide(says(False))
    site.until_account(0, 0, {"consent_denied": 2})
    site.decide(says(True))
    site.collect("c")
    site.until_account(0, 1, {"consent_denied": 2})

    assert vendor.events == ["c"]


def test_statement_20_a_denial_deletes_even_if_a_grant_follows_before_anybody_looks(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.stop()

    site.decide(says(False, at_ms=now_ms() + 1))
    site.decide(says(True, at_ms=now_ms() + 2))
    site.start(vendor)

    site.until_account(0, 0, {"consent_denied": 1})
    assert vendor.calls == []


def test_what_waited_in_the_log_is_judged_like_what_was_held(site: Site) -> None:
    site.collect("a")
    site.collect("b", subject="ben")
    site.decide(says(True), says(False, "ben"))
    site.decide(says(True, "ben", at_ms=now_ms() + 5))

    vendor = Vendor()
    site.start(vendor)

    site.until_account(0, 1, {"consent_denied": 1})
    assert vendor.events == ["a"]


def test_statement_40_identify_gives_a_visitor_the_grant_of_the_user(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.decide(says(True, None, user="user-anne"))

    site.decide(Link(Subject(anonymous_id="anne"), "user-anne", now_ms()))

    site.until_account(0, 1, {})
    assert vendor.events == ["a"]


def test_statement_40_a_grant_of_the_user_reaches_the_visitors_that_belong_to_it(site: Site) -> None:
    vendor = Vendor()
    site.decide(Link(Subject(anonymous_id="anne"), "user-anne", now_ms()))
    hold(site, vendor, "a")

    site.decide(says(True, None, user="user-anne"))

    site.until_account(0, 1, {})


def test_a_denial_under_the_second_id_of_an_event_deletes_it(site: Site) -> None:
    vendor = Vendor()
    site.collect("a", subject="anne", user="user-anne")
    site.start(vendor)
    site.until_account(1, 0, {})

    site.decide(says(False, None, user="user-anne"))

    site.until_account(0, 0, {"consent_denied": 1})


def test_statement_19_what_nobody_decides_in_time_expires_and_a_grant_releases_nothing(site: Site) -> None:
    site.consent = ConsentConfig(hold_ttl_s=0.3)
    vendor = Vendor()
    hold(site, vendor, "a")

    site.until_account(0, 0, {"hold_expired": 1})
    site.decide(says(True))
    site.collect("b")

    site.until_account(0, 1, {"hold_expired": 1})
    assert vendor.events == ["b"]


def test_statement_19_a_grant_that_comes_too_late_for_a_waiting_event_lets_nothing_go(site: Site) -> None:
    site.collect("a", age_ms=2_000_000)
    site.decide(says(True))

    vendor = Vendor()
    site.start(vendor)

    site.until_account(0, 0, {"hold_expired": 1})
    assert vendor.calls == []


def test_a_grant_of_the_right_time_counts_although_the_event_is_looked_at_late(site: Site) -> None:
    site.collect("a", age_ms=2_000_000)
    site.decide(says(True, at_ms=now_ms() - 1_000_000))

    vendor = Vendor()
    site.start(vendor)

    site.until_account(0, 1, {})


def test_where_undecided_events_are_dropped_nothing_is_held(site: Site) -> None:
    site.config = replace(site.config, on_undecided=OnUndecided.DROP)
    vendor = Vendor()

    hold(site, vendor, "a")

    assert site.account() == (0, 0, {"consent_undecided": 1})


def test_statement_41_events_of_nobody_are_not_held(site: Site) -> None:
    site.collect("a", subject=None)
    site.start(Vendor())

    site.until_account(0, 0, {"consent_undecided": 1})


def test_beyond_the_bounds_the_oldest_stay_and_the_rest_is_counted(site: Site) -> None:
    site.consent = ConsentConfig(hold_max=3, hold_total=5)
    vendor = Vendor()
    hold(site, vendor, "a1", "a2", "a3", "a4")
    site.collect("a5")
    site.collect("b1", "b2", "b3", subject="ben")

    site.until_account(5, 0, {"hold_limit": 3})
    site.decide(says(True), says(True, "ben"))
    site.until_account(0, 5, {"hold_limit": 3})

    assert sorted(vendor.events) == ["a1", "a2", "a3", "b1", "b2"]


def test_statement_27_what_was_released_is_not_sent_once_the_grant_is_gone(site: Site) -> None:
    release = threading.Event()

    def answer(batch: Batch) -> None:
        if not release.is_set():
            assert release.wait(10)
            raise Retry("busy", after_s=0.01)

    vendor = Vendor(answer)
    hold(site, vendor, "a")
    site.decide(says(True))
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    site.decide(says(False))
    release.set()

    site.until_account(0, 0, {"withdrawn": 1})
    assert vendor.events == []


def test_statement_21_withdrawn_and_granted_between_two_attempts_is_still_withdrawn(site: Site) -> None:
    release = threading.Event()

    def answer(batch: Batch) -> None:
        if not release.is_set():
            assert release.wait(10)
            raise Retry("busy", after_s=0.01)

    vendor = Vendor(answer)
    hold(site, vendor, "a")
    site.decide(says(True))
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    site.decide(says(False, at_ms=now_ms() + 1))
    site.decide(says(True, at_ms=now_ms() + 2))
    release.set()

    site.until_account(0, 0, {"withdrawn": 1})


def test_statement_28_a_requirement_that_asks_for_less_lets_go_of_what_is_held(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.stop()
    site.config = replace(site.config, requires=Requirement(("necessary",)))

    site.start(vendor)

    site.until_account(0, 1, {})


def test_a_released_event_that_the_vendor_refuses_becomes_a_dead_letter(site: Site) -> None:
    def refuse(batch: Batch) -> None:
        raise Rejected("400")

    vendor = Vendor(refuse)
    hold(site, vendor, "a")

    site.decide(says(True))

    site.wait(lambda: site.balanced().dead == 1)
    store = site.store()
    assert [(letter.message_id, letter.event) for letter in store.letters.list()] == [("a", b'{"id":"a"}')]
    assert site.balanced().held == 0
    store.close()


def test_what_is_held_behind_a_failing_event_is_released_before_the_cursor_has_passed(site: Site) -> None:
    failing = threading.Event()

    def answer(batch: Batch) -> None:
        if "stuck" in batch.message_ids and not failing.is_set():
            raise Retry("busy", after_s=0.05)

    vendor = Vendor(answer, limits=Limits(max_events=1, in_flight=4))
    site.collect("stuck", subject="zoe", combo=YES)
    site.collect("a1", "a2")
    site.start(vendor)
    vendor.wait_for(lambda: vendor.calls.count(["stuck"]) > 2)

    site.decide(says(True))
    site.collect("a3")
    vendor.wait_for(lambda: vendor.events == ["a1", "a2", "a3"])
    before = site.account()
    failing.set()

    site.until_account(0, 4, {})
    assert before == (0, 0, {})


def test_many_released_events_keep_their_order_per_subject(site: Site) -> None:
    people = [f"visitor-{n}" for n in range(40)]
    for number in range(10):
        for person in people:
            site.collect(f"{person}.{number}", subject=person)
    vendor = Vendor(limits=Limits(max_events=7, in_flight=3))
    site.start(vendor)
    site.until_account(400, 0, {})

    site.decide(*(says(True, person) for person in people))
    for person in people:
        site.collect(f"{person}.10", subject=person)

    site.until_account(0, 440, {})
    for person in people:
        assert [e for e in vendor.events if e.startswith(person + ".")] == [f"{person}.{n}" for n in range(11)]


def test_statement_31_held_events_and_their_release_survive_the_process(site: Site) -> None:
    hold(site, Vendor(), "a")
    site.stop()
    site.decide(says(True))

    def busy(batch: Batch) -> None:
        raise Retry("busy", after_s=60.0)

    second = Vendor(busy)
    site.start(second)
    second.wait_for(lambda: second.calls == [["a"]])
    site.stop()
    between = site.account()
    third = Vendor()
    site.start(third)

    site.until_account(0, 1, {})
    assert (between, third.calls) == ((1, 0, {}), [["a"]])


def test_an_event_that_the_log_has_let_go_of_counts_as_expired(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.collect("b", combo=YES)
    vendor.wait_for(lambda: vendor.events == ["b"])

    site.log.trim(2)

    site.until_account(0, 1, {})
    assert site.balanced().expired == 1


def test_an_event_that_is_damaged_in_the_log_counts_as_expired_by_that(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    database = apsw.Connection(str(site.data_dir.event_log))
    database.execute("UPDATE rows SET meta = x'00'")
    database.close()

    site.decide(says(True))

    site.until_account(0, 0, {})
    assert site.balanced().expired_by == {"damaged in the log": 1}
    assert vendor.calls == []


def test_what_is_held_ends_where_undecided_events_are_dropped_from_now_on(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.stop()
    site.config = replace(site.config, on_undecided=OnUndecided.DROP)

    site.start(vendor)

    site.until_account(0, 0, {"consent_undecided": 1})


def test_statement_38_consent_is_judged_after_the_load_and_not_before_it(site: Site) -> None:
    hold(site, Vendor(), "a", "b")
    site.collect("c", subject="ben")
    site.until_account(3, 0, {})
    site.stop()
    site.decide(says(True), says(True, "ben"))

    def fail() -> None:
        raise NotReady("no network")

    failing = Vendor()
    failing.on_initialize = fail
    site.start(failing)
    assert site.worker is not None and site.worker.join(10)
    before = site.account()
    site.decide(says(False))
    vendor = Vendor()
    site.start(vendor)

    site.until_account(0, 1, {"consent_denied": 2})
    assert (before, vendor.events) == ((3, 0, {}), ["c"])


def test_what_has_expired_goes_although_released_events_cannot_get_through(site: Site) -> None:
    def busy(batch: Batch) -> None:
        raise Retry("busy", after_s=60.0)

    site.consent = ConsentConfig(hold_ttl_s=1_000)
    vendor = Vendor(busy, limits=Limits(max_events=1, in_flight=1))
    hold(site, vendor, "a1", "a2", "a3")
    site.decide(says(True))
    vendor.wait_for(lambda: vendor.calls == [["a1"]])

    site.collect("b", subject="ben", age_ms=998_500)

    site.until_account(3, 0, {"hold_expired": 1})


def test_a_grant_reaches_what_is_on_its_way_into_the_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.loop.COMMIT_EVERY_S", 3_600.0)
    vendor = Vendor()
    site.collect("x", subject="zoe", combo=YES)
    site.start(vendor)
    vendor.wait_for(lambda: vendor.events == ["x"])
    site.collect("a")
    site.collect("y", subject="zoe", combo=YES)
    vendor.wait_for(lambda: vendor.events == ["x", "y"])

    site.decide(says(True))

    vendor.wait_for(lambda: vendor.events == ["x", "y", "a"])
    site.stop()
    assert site.account() == (0, 3, {})


def test_statement_12_one_of_several_purposes_is_enough_though_another_is_refused(site: Site) -> None:
    site.config = replace(site.config, requires=Requirement((), ("measurement", "marketing")))
    vendor = Vendor()
    hold(site, vendor, "a")
    site.collect("b", subject="ben")
    site.until_account(2, 0, {})

    site.decide(chooses("anne", measurement=True, marketing=False), chooses("ben", marketing=False))

    site.until_account(1, 1, {})
    site.decide(chooses("ben", measurement=False))
    site.until_account(0, 1, {"consent_denied": 1})
    assert vendor.events == ["a"]


def chooses(visitor: str, **preferences: bool) -> Told:
    at_ms = now_ms()
    return Told(Subject(None, visitor), decision(preferences, at_ms, received_ms=at_ms), Evidence.API, "web")

from __future__ import annotations

from dataclasses import replace

import apsw

from sluicegate.config.model import ConsentConfig, OnUndecided, Requirement
from sluicegate.consent.evidence import Link
from sluicegate.consent.subject import Subject
from sluicegate.errors import NotReady
from tests.delivery.site import Site, chooses, hold, now_ms, says
from tests.delivery.world import YES
from tests.doubles.vendor import Vendor


def test_statement_3_what_nobody_has_decided_is_held_and_not_delivered(site: Site) -> None:
    vendor = Vendor()

    hold(site, vendor, "a", "b")

    assert (vendor.calls, site.account()) == ([], (2, 0, {}))


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


def test_statement_28_a_requirement_that_asks_for_less_lets_go_of_what_is_held(site: Site) -> None:
    vendor = Vendor()
    hold(site, vendor, "a")
    site.stop()
    site.config = replace(site.config, requires=Requirement(("necessary",)))

    site.start(vendor)

    site.until_account(0, 1, {})


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

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from tests.delivery.site import Site, hold, now_ms, says
from tests.delivery.world import YES
from tests.doubles.vendor import Vendor


def busy_until(release: threading.Event) -> Callable[[Batch], None]:
    def answer(batch: Batch) -> None:
        if not release.is_set():
            assert release.wait(10)
            raise Retry("busy", after_s=0.01)

    return answer


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


def test_statement_27_what_was_released_is_not_sent_once_the_grant_is_gone(site: Site) -> None:
    release = threading.Event()
    vendor = Vendor(busy_until(release))
    hold(site, vendor, "a")
    site.decide(says(True))
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    site.decide(says(False))
    release.set()

    site.until_account(0, 0, {"withdrawn": 1})
    assert vendor.events == []


def test_statement_21_withdrawn_and_granted_between_two_attempts_is_still_withdrawn(site: Site) -> None:
    release = threading.Event()
    vendor = Vendor(busy_until(release))
    hold(site, vendor, "a")
    site.decide(says(True))
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    site.decide(says(False, at_ms=now_ms() + 1))
    site.decide(says(True, at_ms=now_ms() + 2))
    release.set()

    site.until_account(0, 0, {"withdrawn": 1})


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
        raise Retry("busy", after_s=1.0)

    second = Vendor(busy)
    site.start(second)
    second.wait_for(lambda: second.calls == [["a"]])
    site.stop()
    between = site.account()
    third = Vendor()
    site.start(third)

    site.until_account(0, 1, {})
    assert (between, third.calls) == ((1, 0, {}), [["a"]])


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

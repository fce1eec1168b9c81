from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.config.model import (
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    OnUndecided,
    Requirement,
    SupervisorConfig,
)
from sluicegate.consent.evidence import Entry
from sluicegate.consent.ledger import Ledger
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.event import Combo, EventBatch
from sluicegate.testing.batches import add_event
from tests.delivery.site import SILENT, now_ms, says
from tests.delivery.sweeping import NO, YES, World


class Site(World):
    """Two destinations without a process; undecided events of `ads` are held, those of `strict` are dropped."""

    def __init__(self, root: Path, consent: ConsentConfig) -> None:
        super().__init__(root)
        destinations = {
            "ads": DestinationConfig("ads", "http", Requirement(("marketing",))),
            "crm": DestinationConfig("crm", "http", Requirement(("marketing",)), on_undecided=OnUndecided.DROP),
        }
        config = Config(root, GatewayConfig(), SupervisorConfig(), destinations, consent=consent)
        self.sweeper = Sweeper(config, self.data_dir, on_wanted=self.wanted.append, on_fatal=self.fatal.put)
        self.sweeper.set_running(())

    def collect(self, *ids: str, subject: str = "anne", combo: Combo = SILENT) -> None:
        batch = EventBatch()
        for id_ in ids:
            add_event(batch, b"{}", message_id=id_, combo=combo, anonymous_id=subject, time_ms=now_ms() - 1_000)
        self.log.append([batch], received_at_ms=now_ms())
        self.bell.ring()

    def decide(self, *entries: Entry) -> None:
        ledger = Ledger(self.data_dir.consent, self.data_dir.consent_key)
        ledger.record(list(entries), now_ms=now_ms())
        ledger.close()

    def account(self, name: str = "ads") -> tuple[int, dict[str, int]]:
        state = self.state(name)
        assert state.held + sum(state.denied.values()) + state.expired == state.cursor
        return state.held, dict(state.denied)

    def until(self, held: int, denied: dict[str, int], name: str = "ads") -> None:
        self.wait(lambda: self.account(name) == (held, denied))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("sluicegate.delivery.sweeper.SKIP_EVERY_S", 0.02)
    monkeypatch.setattr("sluicegate.delivery.held_sweep.LOOK_EVERY_MS", 20)
    monkeypatch.setattr("sluicegate.delivery.held_sweep.JUDGE_EVERY_MS", 5)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, ConsentConfig())
    site.sweeper.start()
    yield site
    site.sweeper.stop()
    site.log.close()


def test_statement_1_what_is_undecided_is_held_and_wakes_nobody(site: Site) -> None:
    site.collect("a", "b")
    site.collect("c", combo=NO)

    site.until(2, {"consent_denied": 1})
    site.until(0, {"consent_undecided": 2, "consent_denied": 1}, "crm")

    assert site.wanted == []


def test_statement_36_a_grant_wakes_exactly_the_destinations_that_have_something_now(site: Site) -> None:
    site.collect("a")
    site.collect("b", subject="ben")
    site.until(2, {})

    site.decide(says(True))
    site.wait(lambda: site.wanted != [])

    assert site.wanted == [("ads",)]
    assert site.account() == (2, {})
    store = site.store("ads")
    assert list(store.held.released(limit=10)) == [1]
    store.close()


def test_a_grant_of_somebody_else_wakes_nobody(site: Site) -> None:
    site.collect("a")
    site.until(1, {})

    site.decide(says(True, "ben"))
    site.collect("b", subject="cleo")
    site.until(2, {})

    assert site.wanted == []


def test_statement_20_a_denial_deletes_what_is_held_where_nothing_runs(site: Site) -> None:
    site.collect("a", "b")
    site.until(2, {})

    site.decide(says(False))
    site.until(0, {"consent_denied": 2})
    site.decide(says(True, at_ms=now_ms() + 5))
    site.collect("c", subject="ben")
    site.until(1, {"consent_denied": 2})

    assert site.wanted == []


def test_statement_31_a_denial_counts_though_nobody_was_there_to_see_it(tmp_path: Path) -> None:
    first = Site(tmp_path, ConsentConfig())
    first.sweeper.start()
    first.collect("a")
    first.until(1, {})
    first.sweeper.stop()
    first.log.close()

    first.decide(says(False, at_ms=now_ms() + 1))
    first.decide(says(True, at_ms=now_ms() + 2))
    second = Site(tmp_path, ConsentConfig())
    second.sweeper.start()

    second.until(0, {"consent_denied": 1})
    second.sweeper.stop()
    second.log.close()
    assert second.wanted == []


def test_statement_19_what_waited_too_long_is_counted_where_nothing_runs(tmp_path: Path) -> None:
    site = Site(tmp_path, ConsentConfig(hold_ttl_s=0.2))
    site.sweeper.start()
    site.collect("a")
    site.until(0, {"hold_expired": 1})

    site.decide(says(True))
    site.collect("b", combo=NO)
    site.until(0, {"hold_expired": 1, "consent_denied": 1})

    site.sweeper.stop()
    site.log.close()
    assert site.wanted == []


def test_a_process_that_begins_keeps_its_store_to_itself(site: Site) -> None:
    site.collect("a")
    site.until(1, {})
    store = site.store("ads")
    store.claim(1)

    site.decide(says(False))
    site.sweeper.set_running(["ads"])
    site.collect("b", combo=NO)
    site.until(0, {"consent_undecided": 1, "consent_denied": 1}, "crm")

    assert store.state.held == 1
    store.close()


def test_more_than_fits_into_memory_is_stored_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.READ_EVENTS", 10)
    monkeypatch.setattr("sluicegate.delivery.sweeper.MAX_HELD", 25)
    site = Site(tmp_path, ConsentConfig(hold_max=1_000))
    for number in range(30):
        site.collect(*(f"{number}.{i}" for i in range(10)))

    site.sweeper.start()
    site.until(300, {})

    site.sweeper.stop()
    site.log.close()


def test_a_grant_is_noticed_while_every_destination_waits_to_be_started(site: Site) -> None:
    site.collect("a")
    site.until(1, {})
    site.collect("b", combo=YES)
    site.wait(lambda: site.wanted == [("ads", "crm")])

    site.decide(says(True))

    site.wait(lambda: 1 in released(site))
    assert site.account() == (1, {})


def released(site: Site) -> list[int]:
    store = site.store("ads")
    try:
        return list(store.held.released(limit=10))
    finally:
        store.close()


def test_what_is_still_to_be_judged_is_judged_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.held_sweep.JUDGE_AT_A_TIME", 1)
    monkeypatch.setattr("sluicegate.delivery.held_sweep.JUDGE_PER_PASS", 1)
    monkeypatch.setattr("sluicegate.delivery.sweeper.SKIP_EVERY_S", 0.0)
    first = Site(tmp_path, ConsentConfig())
    first.collect("a", "b")
    first.sweeper._pass(first.log)
    first.decide(says(True))
    first.collect("c", subject="ben")
    first.sweeper._pass(first.log)  # judges one of two, and holds a third
    assert (first.account(), released(first)) == ((3, {}), [1])
    first.sweeper._ledger.close()
    first.log.close()

    second = Site(tmp_path, ConsentConfig())
    second.sweeper.start()
    second.wait(lambda: released(second) == [1, 2])
    second.sweeper.stop()
    second.log.close()

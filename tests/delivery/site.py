"""A destination whose events wait for somebody's decision."""

from __future__ import annotations

import time

from sluicegate.accounts import StoreState
from sluicegate.consent.evidence import Entry, Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.event import Combo, EventBatch
from sluicegate.testing.batches import add_event
from tests.delivery.world import World
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


def hold(site: Site, vendor: Vendor, *ids: str) -> None:
    site.collect(*ids)
    site.start(vendor)
    site.wait_caught_up()


def chooses(visitor: str, **preferences: bool) -> Told:
    at_ms = now_ms()
    return Told(Subject(None, visitor), decision(preferences, at_ms, received_ms=at_ms), Evidence.API, "web")

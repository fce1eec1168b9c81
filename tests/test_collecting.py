from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.acceptance import Acceptor
from sluicegate.acceptance.collecting import Collector
from sluicegate.acceptance.times import write_ms
from sluicegate.config.model import GatewayConfig
from sluicegate.consent.evidence import Entry, Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject

T = 1_800_000_000_000
G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED


class World:
    """A ledger, and events that are accepted; what they say is written as it is given out."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger(root / "consent.db", root / "consent.key")
        self.reader = LedgerReader(root / "consent.db", root / "consent.key", Rules())
        self._acceptor = Acceptor(GatewayConfig())
        self._collector = Collector(self.reader)

    def take(self, *, at_ms: int = T, granted: bool | None = True, **members: Any) -> list[Entry]:
        event = {"type": "track", "event": "E", "messageId": "m", "anonymousId": "phone", **members}
        stamp = {} if granted is None else {"consent": {"marketing": granted, **members.pop("consent", {})}}
        event = {"timestamp": write_ms(at_ms), **event, **stamp}
        acceptance = self._acceptor.accept_events(
            [msgspec.json.encode(event)], consent=None, source="web", received_at_ms=at_ms
        )
        assert acceptance.rejected == []
        entries = self._collector.collect(acceptance.batch, received_ms=at_ms)
        self.ledger.record(entries, now_ms=at_ms)
        return entries

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


def test_a_dated_stamp_is_written_once_and_an_undated_one_never(world: World) -> None:
    dated = [world.take(at_ms=T + n, consent={"givenAt": T}) for n in range(3)]
    undated = world.take(at_ms=T + 5, granted=False)

    assert [len(entries) for entries in (*dated, undated)] == [1, 0, 0, 0]
    assert world.state() is G


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

    assert [type(entry) for entry in entries] == [Link]
    assert (before, world.state(user="anne", anonymous=None)) == (U, D)


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

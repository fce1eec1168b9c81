from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import ConsentConfig, HonorGpc, OnDenied
from sluicegate.consent.evidence import Evidence, Told, signal
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, SubjectKind, regulate
from sluicegate.consent.subject import Subject
from sluicegate.delivery.letters import LetterFilter
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import Rejected, Retry
from sluicegate.event import Combo, EventBatch
from sluicegate.proof import decisions_about, verify
from sluicegate.testing.batches import add_event
from tests.delivery.consenting import EVENT_MS, LATER_MS, record, told
from tests.delivery.world import NO, YES, World
from tests.doubles.vendor import Answer, Vendor

SILENT = Combo("track", "web")
EARLIER_MS = EVENT_MS - 1_000


class Taking(Vendor):
    """Remembers the bodies that it got, those of failed calls too."""

    def __init__(self, answer: Answer = lambda batch: None) -> None:
        super().__init__(answer)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def deliver(self, batch: Batch) -> Any:
        self.keys.append(batch.key("vendor"))
        self.bodies += map(json.loads, batch.raws)
        with self._changed:
            self.calls.append(list(batch.message_ids))
            self._changed.notify_all()
        return self.answer(batch)


class Redacting(World):
    """A destination with `on_denied = "redact"`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.config = replace(self.config, on_denied=OnDenied.REDACT)

    def add(self, id_: str, combo: Combo, *, visitor: str = "anne-the-visitor", **more: Any) -> None:
        batch = EventBatch()
        event = {"type": combo.type, "event": "Paid", "anonymousId": visitor, "messageId": id_, **more}
        raw = json.dumps(event).encode()
        add_event(batch, raw, message_id=id_, combo=combo, anonymous_id=visitor, time_ms=EVENT_MS)
        self.log.append([batch], received_at_ms=EVENT_MS)
        self.bell.ring()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Redacting]:
    world = Redacting(tmp_path)
    yield world
    world.close()


def run(world: World, vendor: Vendor) -> None:
    world.start(vendor)
    world.wait_caught_up()


def proof(world: World, *offsets: int) -> list[str]:
    """The newest decision about these events; the whole proof comes to the accounts."""
    store, head = world.data_dir.store("vendor"), world.log.head()
    (one,) = verify(world.data_dir, head=head)
    assert one.fault is None
    return [(decisions_about(store, offset) or [])[-1].word for offset in offsets]


def counts(world: World) -> tuple[int, int, dict[str, int]]:
    state = world.state()
    return state.delivered, state.redacted, dict(state.denied)


def test_refused_events_go_redacted_between_whole_ones_in_order(world: Redacting) -> None:
    world.add("a", YES)
    world.add("b", NO, properties={"total": 9})
    world.add("c", YES)
    vendor = Taking()

    run(world, vendor)

    first, second, third = vendor.bodies
    assert (first["messageId"], third["messageId"]) == ("a", "c")
    assert first["anonymousId"] == third["anonymousId"] == "anne-the-visitor"
    assert second == {"type": "track", "event": "Paid", "messageId": second["messageId"], "properties": {"total": 9}}
    assert len(second["messageId"]) == 32
    assert counts(world) == (3, 1, {})
    assert proof(world, 1, 2, 3) == ["delivered", "delivered:redacted", "delivered"]


def test_same_event_has_the_same_message_id_and_key_in_every_attempt_and_process(world: Redacting) -> None:
    def fail(batch: Batch) -> None:
        raise Retry("away", after_s=0)

    world.add("a", NO)
    failing, working = Taking(fail), Taking()
    world.start(failing)
    failing.wait_for(lambda: len(failing.calls) > 1)
    world.stop()

    run(world, working)

    assert len({*failing.keys, *working.keys}) == 1
    assert len({body["messageId"] for body in failing.bodies + working.bodies}) == 1


def test_what_the_ledger_refused_before_the_event_goes_redacted(world: Redacting) -> None:
    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])
    world.add("a", SILENT)
    world.add("b", YES)
    vendor = Taking()

    run(world, vendor)

    assert not [body for body in vendor.bodies if "anonymousId" in body]
    assert counts(world) == (2, 2, {})


@pytest.mark.parametrize(("combo", "reason"), [(YES, "withdrawn"), (SILENT, "consent_denied")])
def test_what_was_withdrawn_after_the_event_does_not_go_at_all(world: Redacting, combo: Combo, reason: str) -> None:
    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=LATER_MS)])
    world.add("a", combo)
    vendor = Taking()

    run(world, vendor)

    assert vendor.bodies == []
    assert counts(world) == (0, 0, {reason: 1})


def test_a_new_refusal_between_attempts_stops_what_the_ledger_alone_refused(world: Redacting) -> None:
    def refuse(batch: Batch) -> None:
        record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=LATER_MS)])
        raise Retry("away", after_s=0)

    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])
    world.add("a", SILENT)
    vendor = Taking(refuse)

    run(world, vendor)

    assert len(vendor.bodies) == 1
    assert counts(world) == (0, 0, {"consent_denied": 1})


def test_a_backdated_refusal_between_attempts_makes_a_whole_event_go_redacted(world: Redacting) -> None:
    def refuse_once(batch: Batch) -> None:
        if len(vendor.calls) == 1:
            record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])
            raise Retry("away", after_s=0)

    world.add("a", YES)
    world.add("b", YES, visitor="ben-the-visitor")
    vendor = Taking(refuse_once)

    run(world, vendor)

    sent = [body.get("anonymousId") for body in vendor.bodies]
    assert sent == ["anne-the-visitor", "ben-the-visitor", None, "ben-the-visitor"]
    assert counts(world) == (2, 1, {})


def test_what_was_refused_stays_redacted_when_it_is_granted_between_attempts(world: Redacting) -> None:
    def grant_once(batch: Batch) -> None:
        if len(vendor.calls) == 1:
            record(world.data_dir, [told(True, visitor="anne-the-visitor", at_ms=LATER_MS)])
            raise Retry("away", after_s=0)

    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])
    world.add("a", NO)
    world.add("b", SILENT)
    vendor = Taking(grant_once)

    run(world, vendor)

    assert len(vendor.bodies) == 4
    assert not [body for body in vendor.bodies if "anonymousId" in body]


@pytest.mark.parametrize("kind", ["identify", "group", "alias"])
def test_events_about_the_person_alone_are_dropped(world: Redacting, kind: str) -> None:
    world.add("a", NO._replace(type=kind), traits={"email": "anne@example.com"})
    vendor = Taking()

    run(world, vendor)

    assert vendor.bodies == []
    assert counts(world) == (0, 0, {"consent_denied": 1})


def test_undecided_events_are_held_and_not_redacted(world: Redacting) -> None:
    world.consent = ConsentConfig(hold_ttl_s=1e9)
    world.add("a", SILENT)
    vendor = Taking()

    run(world, vendor)

    assert vendor.bodies == []
    assert world.state().held == 1


def test_a_refusal_ends_what_is_held_also_one_that_is_older_than_the_event(world: Redacting) -> None:
    world.consent = ConsentConfig(hold_ttl_s=1e9)
    world.add("a", SILENT)
    vendor = Taking()
    run(world, vendor)

    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])
    World.wait(lambda: world.state().held == 0)

    assert vendor.bodies == []
    assert counts(world) == (0, 0, {"consent_denied": 1})


@pytest.mark.parametrize("kind", [Kind.SUPPRESS_ONLY, Kind.DELETE_ONLY])
def test_events_of_erased_and_suppressed_subjects_do_not_go_redacted(world: Redacting, kind: Kind) -> None:
    world.add("a", NO)
    ledger = Ledger(world.data_dir.consent, world.data_dir.consent_key)
    regulate(ledger, "1", kind, SubjectKind.ANONYMOUS_ID, ["anne-the-visitor"], head=1, now_ms=LATER_MS)
    ledger.close()
    vendor = Taking()

    run(world, vendor)

    assert vendor.bodies == []
    assert counts(world)[:2] == (0, 0)
    assert set(counts(world)[2]) <= {"erased", "suppressed"}


def test_global_privacy_control_on_the_event_itself_lets_it_go_redacted(world: Redacting) -> None:
    world.consent = ConsentConfig(honor_gpc=HonorGpc.ALWAYS)
    writes = signal(("measurement",), at_ms=EVENT_MS)
    record(world.data_dir, [Told(Subject(None, "anne-the-visitor"), writes, Evidence.GPC, "web")])
    world.add("a", SILENT)
    vendor = Taking()

    run(world, vendor)

    assert counts(world) == (1, 1, {})


def test_a_redacted_event_that_is_not_taken_is_counted_and_no_dead_letter(world: Redacting) -> None:
    def no_id(batch: Batch) -> Outcome:
        return Outcome(rejected={0: "no client_id"})

    world.add("a", NO)
    vendor = Taking(no_id)

    run(world, vendor)

    assert counts(world) == (0, 0, {"redacted_refused": 1})
    assert world.store().letters.list() == []


def test_a_dead_letter_that_is_refused_since_goes_redacted_when_it_is_replayed(world: Redacting) -> None:
    def reject_once(batch: Batch) -> None:
        if len(vendor.calls) == 1:
            raise Rejected("bad")

    world.add("a", YES)
    vendor = Taking(reject_once)
    run(world, vendor)
    record(world.data_dir, [told(False, visitor="anne-the-visitor", at_ms=EARLIER_MS)])

    store = world.store()
    store.letters.mark_replay(LetterFilter())
    store.close()
    World.wait(lambda: world.state().dead == 0)

    assert "anonymousId" not in vendor.bodies[-1]
    assert counts(world) == (1, 1, {})
    assert proof(world, 1) == ["delivered:redacted"]


def test_other_destinations_drop_what_was_refused(world: Redacting) -> None:
    world.config = replace(world.config, on_denied=OnDenied.DROP)
    world.add("a", NO)
    vendor = Taking()

    run(world, vendor)

    assert vendor.bodies == []
    assert counts(world) == (0, 0, {"consent_denied": 1})

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sluicegate.accounts import DAMAGED
from sluicegate.audit.reading import Entry
from sluicegate.audit.words import Final
from sluicegate.config.model import Requirement
from sluicegate.consent.subject import Subject
from sluicegate.event import CONSENT_TYPE, Combo
from sluicegate.explain.fate import Fate
from sluicegate.explain.find import StoredEvent
from sluicegate.explain.ledger import LedgerStory
from sluicegate.explain.words import as_json, story
from tests.end_to_end.harness import ARCHIVE, MakeSystem

MINUTE_MS = 60_000
RECEIVED_MS = 1_764_381_660_634


def fate(from_ms: int, until_ms: int) -> Fate:
    entry = Entry("delivered", 0, from_ms, until_ms, 7)
    return Fate("crm", "delivered", Final.DELIVERED, requires=Requirement(("necessary",)), decided=(entry,))


def event() -> StoredEvent:
    combo: Any = Combo("track", "web")
    return StoredEvent(1, RECEIVED_MS, RECEIVED_MS, combo, "m", Subject("u", None))


def test_event_was_not_delivered_before_it_was_received() -> None:
    told = fate(RECEIVED_MS - MINUTE_MS, RECEIVED_MS + 2_000)

    text = " ".join(story(told, event()))
    (decided,) = as_json(told, event())["decided"]

    assert "between 2025-11-29T02:01:00.634+00:00 and 2025-11-29T02:01:02.634+00:00" in text
    assert decided["from"] == "2025-11-29T02:01:00.634+00:00"


@pytest.mark.parametrize("moment_ms", [1 << 62, -(1 << 62)])
def test_moment_that_no_calendar_has_is_told_as_its_number(moment_ms: int) -> None:
    assert as_json(fate(0, moment_ms), None)["decided"][0]["until"] == f"{moment_ms} ms since 1970"


def test_what_a_repair_has_decided_was_not_decided_by_an_empty_ledger() -> None:
    entry = Entry(f"expired:{DAMAGED}", 0, RECEIVED_MS, RECEIVED_MS, 7)
    told = Fate("crm", "expired", Final.DAMAGED, DAMAGED, requires=Requirement(("marketing",)), decided=(entry,))

    assert "empty" not in " ".join(story(told, None))


def test_notice_of_a_denial_was_delivered_because_it_needs_no_consent() -> None:
    entry = Entry("delivered", 1, RECEIVED_MS, RECEIVED_MS, 7)
    ledger = LedgerStory(1, "opt-in", accepted_version=1)
    told = Fate(
        "crm", "delivered", Final.DELIVERED, requires=Requirement(("marketing",)), decided=(entry,), ledger=ledger
    )
    notice = replace(event(), combo=Combo(CONSENT_TYPE, "web", (("marketing", False),)))

    told_why, sentences = as_json(told, notice)["why"], list(story(told, notice))

    assert told_why == "needs no consent for it: it tells of a decision; the event says marketing: denied"
    assert sentences[:2] == [
        "crm needs no consent for it: it tells of a decision",
        "the event says marketing: denied",
    ]
    assert sentences[2].startswith("delivered: ")


def test_event_that_was_delivered_at_once_has_one_moment() -> None:
    text = " ".join(story(fate(RECEIVED_MS - MINUTE_MS, RECEIVED_MS + 20), event()))

    assert "between" not in text
    assert "2025-11-29T02:01:00.654+00:00" in text


def test_clock_that_went_back_gives_no_backward_interval() -> None:
    text = " ".join(story(fate(RECEIVED_MS - MINUTE_MS, RECEIVED_MS - 20_000), event()))

    assert "between" not in text


def test_story_leaves_the_name_of_a_destination_as_it_is(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()
    running.admin("send", "Hi", "--message-id", "m-1")
    running.until_delivered("archive", 1)

    told = running.admin("explain", "m-1", "archive")

    assert "  archive needs no consent." in told.stdout
    assert "  The event says" in told.stdout

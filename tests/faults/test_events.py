from __future__ import annotations

import json

from tests.faults.events import CAP_BYTES, Rule, event_of, fingerprint, kind_of, split_additions

IDS = [f"F00s1.{connection}.{request}.0" for connection in range(8) for request in range(250)]


def test_events_have_every_size_around_the_boundaries() -> None:
    sizes = {len(event_of(id_)) for id_ in IDS}

    assert {CAP_BYTES // 4, CAP_BYTES - 1, CAP_BYTES} <= sizes
    assert {4_095, 4_096, 4_097, 8_191, 8_192, 8_193} <= sizes
    assert max(sizes) == CAP_BYTES


def test_event_carries_its_id_first_and_can_be_told_from_what_was_added() -> None:
    sent = event_of(IDS[0])
    stored = b'{"receivedAt":"2026-01-31T08:00:00.000Z",' + sent[1:]

    additions, rest = split_additions(stored)

    assert json.loads(additions) == {"receivedAt": "2026-01-31T08:00:00.000Z"}
    assert rest == sent
    assert json.loads(rest)["messageId"] == IDS[0]
    assert fingerprint(rest) == fingerprint(sent)


def test_verdicts_are_mixed() -> None:
    both = Rule(("measurement", "marketing"), ("track",))

    verdicts = {both.verdict(id_) for id_ in IDS}

    assert verdicts == {None, "event_type", "consent_denied", "consent_undecided"}
    assert {kind_of(id_) for id_ in IDS} == {"track", "page", "identify"}

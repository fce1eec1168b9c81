from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.settings import settings_for
from sluicegate.destinations.kafka_records import Record, Records
from sluicegate.destinations.kafka_reports import TOO_LARGE, Failure, outcome_of
from sluicegate.destinations.kafka_settings import KafkaSettings, brokers_of
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import ConfigError, CredentialsRefused, Rejected, Retry
from sluicegate.testing.destination_contract import make_batch

TIMED_OUT = Failure(-192, "timed out")
REFUSED = Failure(29, "not authorized")
LARGE = Failure(TOO_LARGE, "too large")


def settings(**given: Any) -> KafkaSettings:
    found = settings_for("kafka", {"brokers": "127.0.0.1:9092", "topic": "events"} | given, KafkaSettings)
    assert isinstance(found, KafkaSettings)
    return found


def records(*events: dict[str, Any], **given: Any) -> tuple[list[Record], dict[int, str]]:
    raws = [msgspec.json.encode(event) for event in events]
    return Records(settings(**given)).of(make_batch([f"m-{n}" for n in range(len(raws))], raws=raws))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"brokers": "http://kafka"}, "brokers: 'http://kafka' is no broker"),
        ({"brokers": "kafka:99999"}, "is no broker"),
        ({"topic": "a topic"}, "topic: 'a topic' is no topic"),
        ({"topic": "events.{event}"}, "is no topic"),
        ({"topic": ".."}, "is no topic"),
        ({"topics": {"page": "a/b"}}, "topics: 'a/b' is no topic"),
        ({"topics": {"page": "{type}"}}, "is no topic"),
        ({"max_message_bytes": 10}, "out of range"),
        ({"username": "u"}, "needs a password"),
        ({"security": "sasl_ssl"}, "needs username and password"),
        ({"security": "ssl", "username": "u", "password": "p"}, 'write "sasl_ssl"'),
        ({"security": "ssl", "certificate": "x"}, "needs a private_key"),
        ({"ca": "/etc/ca.pem"}, "is not used without TLS"),
        ({"compression": "brotli"}, "none of the possible values"),
    ],
)
def test_settings_say_what_is_wrong(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(**given)

    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "plaintext"),
        ({"brokers": "[::1]:9092,localhost"}, "plaintext"),
        ({"brokers": "127.0.0.1,kafka.example"}, "ssl"),
        ({"username": "u", "password": "p"}, "sasl_plaintext"),
        ({"brokers": "kafka.example", "username": "u", "password": "p"}, "sasl_ssl"),
        ({"brokers": "kafka.example", "security": "plaintext"}, "plaintext"),
    ],
)
def test_connections_are_encrypted_unless_they_stay_on_this_machine(given: dict[str, Any], protocol: str) -> None:
    assert settings(**given).protocol == protocol


def test_brokers_are_hosts_with_ports() -> None:
    assert brokers_of("a.example, [::1]:19092,b:9093") == [("a.example", 9092), ("::1", 19092), ("b", 9093)]


def test_secrets_do_not_show() -> None:
    found = settings(username="user", password="pass-word", security="sasl_ssl")

    assert "pass-word" not in repr(found)


@pytest.mark.parametrize(
    ("key", "event", "wanted"),
    [
        ("subject", {"userId": "u", "anonymousId": "a"}, b"a"),
        ("subject", {"userId": "u"}, b"u"),
        ("user", {"userId": "u", "anonymousId": "a"}, b"u"),
        ("user", {"anonymousId": "a"}, b"a"),
        ("user", {"userId": 42}, b"42"),
        ("none", {"userId": "u"}, None),
        ("subject", {"anonymousId": "", "userId": None}, None),
    ],
)
def test_key_is_an_id_of_the_event(key: str, event: dict[str, Any], wanted: bytes | None) -> None:
    (record,), rejected = records({"type": "track", **event}, key=key)

    assert (record.key, rejected) == (wanted, {})


def test_topic_is_chosen_by_type_and_by_name_of_track_events() -> None:
    topics = {"Order Completed": "orders", "page": "pages", "track": "other"}
    events: list[dict[str, Any]] = [
        {"type": "track", "event": "Order Completed"},
        {"type": "page", "event": "Order Completed"},
        {"type": "track", "event": "Other"},
        {"type": "identify"},
        {"type": "track", "event": ["odd"]},
    ]

    found, _ = records(*events, topics=topics, topic="rest.{type}")

    assert [record.topic for record in found] == ["orders", "pages", "other", "rest.identify", "other"]


def test_topic_of_the_event_is_used_only_when_allowed() -> None:
    event = {"type": "track", "integrations": {"Kafka": {"topic": "mine"}}}

    (ignored,), _ = records(event)
    (used,), _ = records(event, topic_from_event=True)

    assert (ignored.topic, ignored.chosen) == ("events", False)
    assert (used.topic, used.chosen) == ("mine", True)


def test_event_that_chooses_what_cannot_be_a_topic_is_rejected_alone() -> None:
    events = [{"type": "page", "integrations": {"Kafka": {"topic": name}}} for name in ("a b", "ok", "..", "x" * 250)]

    found, rejected = records(*events, topic_from_event=True)

    assert [record.index for record in found] == [1]
    assert sorted(rejected) == [0, 2, 3]
    assert "cannot be a topic" in rejected[0]


def test_value_is_the_event_as_it_was_received_and_headers_say_what_it_is() -> None:
    raw = b'{ "type":"page", "messageId" : "m-0", "n": 1.10 }'

    (record,), _ = Records(settings(headers={"site": "shop"})).of(make_batch(["m-0"], raws=[raw]))

    assert record.value == raw
    assert record.headers == [("message-id", "m-0"), ("type", "page"), ("site", "shop")]


def test_all_delivered_is_no_outcome() -> None:
    found, _ = records({"userId": "u"}, {"userId": "v"})

    assert outcome_of(found, {}, {}, n_events=2) is None


def test_event_too_large_by_itself_is_rejected_alone() -> None:
    found, _ = records(*[{"userId": "u"}] * 3)

    outcome = outcome_of(found, {1: Failure(TOO_LARGE, "too large", alone=True)}, {}, n_events=3)

    assert outcome == Outcome(rejected={1: "too large"})


def test_records_refused_together_are_separated_until_one_is_alone() -> None:
    found, _ = records({"userId": "u"}, {"userId": "v"})

    with pytest.raises(Rejected) as raised:
        outcome_of(found, {0: LARGE, 1: LARGE}, {}, n_events=2)
    some = outcome_of(found, {1: LARGE}, {}, n_events=2)
    alone = outcome_of(found[:1], {0: LARGE}, {}, n_events=1)

    assert raised.value.reasons == "too large"
    assert some == Outcome(again=frozenset({1}))
    assert alone == Outcome(rejected={0: "too large"})


def test_refusal_pauses_only_when_nothing_was_delivered() -> None:
    found, _ = records({"userId": "u"}, {"userId": "v"})

    with pytest.raises(CredentialsRefused):
        outcome_of(found, {0: REFUSED, 1: REFUSED}, {}, n_events=2)
    some = outcome_of(found, {1: REFUSED}, {}, n_events=2)

    assert some == Outcome(again=frozenset({1}), reason="not authorized")


def test_unknown_topic_pauses_unless_the_event_chose_it() -> None:
    unknown = Failure(3, "unknown topic")
    fixed, _ = records({"userId": "u"})
    chosen, _ = records({"userId": "u", "integrations": {"Kafka": {"topic": "mine"}}}, topic_from_event=True)

    with pytest.raises(CredentialsRefused):
        outcome_of(fixed, {0: unknown}, {}, n_events=1)
    outcome = outcome_of(chosen, {0: unknown}, {}, n_events=1)

    assert outcome == Outcome(rejected={0: "unknown topic"})


def test_throttling_is_told_as_such() -> None:
    found, _ = records({"userId": "u"})

    with pytest.raises(Retry) as raised:
        outcome_of(found, {0: Failure(89, "quota")}, {}, n_events=1)

    assert raised.value.status == 429


failures = st.sampled_from([None, TIMED_OUT, REFUSED, LARGE, Failure(7, "slow"), Failure(TOO_LARGE, "x", alone=True)])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", ""]), failures), min_size=1, max_size=12))
def test_no_event_overtakes_one_of_its_key_that_goes_again(story: list[tuple[str, Failure | None]]) -> None:
    found, _ = records(*[{"userId": user} for user, _ in story])
    failed = {index: failure for index, (_, failure) in enumerate(story) if failure is not None}

    try:
        outcome = outcome_of(found, failed, {}, n_events=len(story)) or Outcome()
    except (CredentialsRefused, Rejected, Retry):
        assert failed  # as a whole, or halved: in order
        return

    assert outcome.problem(len(story)) is None
    assert failed.keys() <= outcome.rejected.keys() | outcome.again
    for index in outcome.again:
        user = story[index][0]
        after = {later for later in range(index, len(story)) if user and story[later][0] == user}
        assert after <= outcome.again | outcome.rejected.keys()

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.acceptance import Acceptance, Acceptor
from sluicegate.acceptance.body import open_batch
from sluicegate.acceptance.combining import Combiner
from sluicegate.acceptance.times import Clock, read_ms
from sluicegate.acceptance.uniform import read_uniform
from sluicegate.acceptance.ways import Ways
from sluicegate.config.model import DestinationConfig, GatewayConfig, Requirement
from sluicegate.errors import BodyRefused
from sluicegate.routing import Decision, decide
from tests.consent.test_tcf import MEASURE

RECEIVED_MS = 1_795_453_200_000
FILLED = {"receivedAt", "messageId", "type", "timestamp", "originalTimestamp"}
LIMITS = GatewayConfig()
SEVERAL = 6
NOT_PLAIN = {"context", "consent", "integrations", "gdpr_consent"}

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
consents = st.one_of(
    st.dictionaries(st.sampled_from(["necessary", "measurement", "marketing"]), st.one_of(st.booleans(), scalars)),
    json_values,
)
tc_strings = st.one_of(st.just(MEASURE), st.just(MEASURE[:-4]), st.text(max_size=8), scalars)
contexts = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "consent": st.one_of(st.builds(lambda c: {"categoryPreferences": c}, consents), json_values),
            "consentManagement": st.fixed_dictionaries(
                {}, optional={"allowedConsentIds": json_values, "deniedConsentIds": json_values}
            ),
            "tcf": st.one_of(st.builds(lambda text: {"tcString": text}, tc_strings), json_values),
            "gpc": st.one_of(st.booleans(), scalars),
            "jurisdiction": st.one_of(st.sampled_from(["US", "DE"]), scalars),
        },
    ),
    json_values,
)
times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"), st.just("2026-11-23T16:59:59.123Z"), scalars
)
ids = st.one_of(st.text(max_size=12), st.integers(), scalars)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "track", "page", "group", "click"]), "userId": ids},
    optional={
        "event": st.text(max_size=5),
        "messageId": ids,
        "anonymousId": ids,
        "groupId": ids,
        "timestamp": times,
        "originalTimestamp": times,
        "sentAt": times,
        "receivedAt": times,
        "context": contexts,
        "consent": consents,
        "integrations": json_values,
        "properties": json_values,
        "gdpr_consent": tc_strings,
    },
)
uniform_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "page"]),
        "event": st.text(min_size=1, max_size=5),
        "messageId": st.text(min_size=1, max_size=5),
        "userId": st.one_of(st.text(max_size=3), st.integers(0, 9), st.none()),
        "anonymousId": st.text(max_size=3),
        "timestamp": st.one_of(
            st.integers(0, 59_999).map(lambda ms: f"2026-11-23T16:59:{ms // 1000:02d}.{ms % 1000:03d}Z"),
            st.datetimes().map(lambda moment: moment.isoformat() + "+01:00"),
        ),
    },
    optional={
        "consent": consents,
        "context": contexts,
        "integrations": json_values,
        "properties": json_values,
        "gdpr_consent": tc_strings,
    },
)
bodies = st.fixed_dictionaries(
    {"batch": st.lists(events, max_size=4)},
    optional={
        "sentAt": times,
        "consent": consents,
        "context": contexts,
        "integrations": json_values,
        "gdpr_consent": tc_strings,
    },
)


def accept(body: bytes) -> Acceptance | None:
    try:
        return Acceptor(LIMITS).accept_batch(body, source="web", received_at_ms=RECEIVED_MS)
    except BodyRefused as refused:
        assert refused.status in (400, 413)
        return None


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


@given(st.binary())
def test_any_bytes_are_accepted_or_refused(body: bytes) -> None:
    accept(body)


@given(st.text(alphabet='{}[]",:\\bat ch1\ud800'.replace("\ud800", ""), max_size=60))
@example('","batch":[,],"')
@example('"],"batch":[{"')
def test_any_text_in_the_place_of_events_is_accepted_or_refused(text: str) -> None:
    accept(f'{{"batch":[{text}]}}'.encode())


@given(json_values)
def test_any_json_is_accepted_or_refused(value: Any) -> None:
    accept(dumped(value))
    accept(dumped({"batch": [value, value]}))


@given(st.sampled_from(["track", "page", "alias"]), st.one_of(st.binary(), events.map(dumped)))
def test_any_single_body_is_accepted_or_refused(kind: str, body: bytes) -> None:
    try:
        Acceptor(LIMITS).accept_single(body, type=kind, source="web", received_at_ms=RECEIVED_MS)
    except BodyRefused as refused:
        assert refused.status == 400


@given(st.lists(st.one_of(st.binary(), events.map(dumped)), max_size=4))
def test_any_events_of_a_message_have_a_verdict_each(raw: list[bytes]) -> None:
    accepted = Acceptor(LIMITS).accept_events(raw, consent=None, source="shop", received_at_ms=RECEIVED_MS)

    assert len(accepted.batch) + len(accepted.rejected) == len(raw)


@given(bodies)
def test_accepted_events_are_the_input_with_what_was_missing(body: dict[str, Any]) -> None:
    accepted = accept(dumped(body))

    if accepted is None:
        return
    rejected = {rejection.index for rejection in accepted.rejected}
    sent = [event for index, event in enumerate(body["batch"]) if index not in rejected]
    assert len(sent) == len(accepted.batch)
    for event, raw, time_ms, message_id in zip(
        sent, accepted.batch.events, accepted.batch.times_ms, accepted.batch.message_ids, strict=True
    ):
        stored = json.loads(raw)
        assert {k: v for k, v in stored.items() if k not in FILLED} == {
            k: v for k, v in event.items() if k not in FILLED
        }
        assert stored["type"] == event["type"]
        assert stored["messageId"] == message_id == (event.get("messageId") or message_id)
        assert read_ms(stored["timestamp"]) == time_ms
        assert 0 <= time_ms <= RECEIVED_MS + 86_400_000


@given(st.lists(uniform_events, min_size=1, max_size=4), st.one_of(st.none(), consents))
def test_column_by_column_and_one_by_one_come_to_the_same(batch: list[dict[str, Any]], default: Any) -> None:
    body = dumped({"batch": batch, "consent": default})
    limits, clock = LIMITS, Clock(RECEIVED_MS)
    acceptor = Acceptor(limits)
    try:
        opened = open_batch(body, max_events=100, max_depth=64)
    except BodyRefused:
        return
    scope = Combiner(Ways()).scope("web", opened.default)

    quick = read_uniform(body, opened, scope, clock, limits)
    slow = acceptor._one_by_one(opened.events, scope, clock)

    if quick is not None:
        assert quick == slow


@given(st.lists(uniform_events.filter(lambda event: not set(event) & NOT_PLAIN), min_size=1))
def test_plain_events_take_the_quick_path(batch: list[dict[str, Any]]) -> None:
    for number, event in enumerate(batch):
        event |= {"timestamp": "2026-11-23T16:59:59Z", "anonymousId": f"a{number}", "properties": {}, "event": "A"}
        event["messageId"] = f"m{number}"
        event["userId"] = number
    body = dumped({"batch": batch})
    opened = open_batch(body, max_events=1_000, max_depth=64)

    quick = read_uniform(body, opened, Combiner(Ways()).scope("web", opened.default), Clock(RECEIVED_MS), LIMITS)

    assert quick is not None


@given(consents, consents, contexts)
@settings(max_examples=200)
def test_destination_gets_an_event_only_when_the_event_or_its_batch_says_true(
    own: Any, default: Any, context: Any
) -> None:
    base = {"type": "track", "event": "A", "userId": "u"}
    accepted = accept(dumped({"batch": [{**base, "consent": own, "context": context}], "consent": default}))
    destination = DestinationConfig("crm", "webhook", Requirement(all=("marketing",)))

    if accepted is None or not accepted.batch:
        return
    decision = decide(accepted.batch.combos[0], destination)

    if decision is Decision.ALLOW:
        assert isinstance(own, dict)
        assert own.get("marketing", True) is True
        assert b'"marketing"' in accepted.batch.events[0]
    if isinstance(own, dict) and own.get("marketing") is False:
        assert decision is Decision.CONSENT_DENIED


@given(
    st.one_of(
        st.lists(uniform_events, min_size=1, max_size=2 * SEVERAL),
        st.lists(st.one_of(uniform_events, events), min_size=SEVERAL, max_size=SEVERAL + 1),
    ),
    st.sampled_from(["track", "page"]),
)
@example([{"type": "track"}, {"type": "track"}], "track")
def test_singles_are_accepted_together_as_they_are_one_by_one(singles: list[Any], kind: str) -> None:
    acceptor, bodies = Acceptor(LIMITS), list(map(dumped, singles))

    together = acceptor.accept_singles(bodies, types=[kind] * len(bodies), source="web", received_at_ms=RECEIVED_MS)

    if together is not None:
        alone = [acceptor.accept_single(b, type=kind, source="web", received_at_ms=RECEIVED_MS) for b in bodies]
        assert not together.rejected
        assert [one.rejected for one in alone] == [[]] * len(alone)
        assert together.batch.events == [event for one in alone for event in one.batch.events]
        assert together.batch.combos == [combo for one in alone for combo in one.batch.combos]
        assert together.batch.message_ids == [id_ for one in alone for id_ in one.batch.message_ids]
        assert together.batch.user_ids == [id_ for one in alone for id_ in one.batch.user_ids]
        assert together.batch.times_ms == [ms for one in alone for ms in one.batch.times_ms]
        assert together.batch.n_bytes == sum(one.batch.n_bytes for one in alone)
        assert together.malformed_consent == sum(one.malformed_consent for one in alone)


@given(st.lists(st.one_of(st.binary(max_size=30), st.text('{}[]",:\\bat ch', max_size=30).map(str.encode)), min_size=1))
@example([b'{"a":1},{"b":2}', *[b"{}"] * SEVERAL])
@example([b'{}],"batch":[{"b":2}', *[b"{}"] * SEVERAL])
def test_bodies_that_are_no_events_are_never_accepted_together(bodies: list[bytes]) -> None:
    together = Acceptor(LIMITS).accept_singles(
        bodies, types=["track"] * len(bodies), source="web", received_at_ms=RECEIVED_MS
    )

    assert together is None


def test_bodies_that_are_events_only_as_they_lie_beside_each_other_are_not_accepted_together() -> None:
    first, second = [
        dumped({"type": "track", "event": "A", "messageId": one, "userId": one, "timestamp": "2026-11-23T16:59:59Z"})
        for one in ("m1", "m2")
    ]
    bodies = [first + b',{"properties":{"x":[{}', b"{}]}," + second[1:]]
    assert len(json.loads(b"[" + b",".join(bodies) + b"]")) == len(bodies)
    acceptor = Acceptor(LIMITS)

    together = acceptor.accept_singles(bodies, types=["track"] * 2, source="web", received_at_ms=RECEIVED_MS)
    told = acceptor.accept_events(bodies, consent=None, source="app", received_at_ms=RECEIVED_MS)

    assert together is None
    assert [rejection.index for rejection in told.rejected] == [0, 1]

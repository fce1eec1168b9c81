"""What the delivery reports of one call mean for its events. Pure; knows error codes, not the library.

Positive codes are the protocol's (kafka.apache.org/protocol), negative ones librdkafka's own (rdkafka.h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sluicegate.destinations.kafka_records import Record
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import CredentialsRefused, Rejected

TOO_LARGE = 10
"""MSG_SIZE_TOO_LARGE"""
TIMED_OUT = -192
FATAL = -150
PURGED_QUEUE, PURGED_IN_FLIGHT = -152, -151
AUTHENTICATION = -169
QUEUE_FULL = -184

_THROTTLED = frozenset({89, QUEUE_FULL})
"""THROTTLING_QUOTA_EXCEEDED, and our own queue being full."""
_UNKNOWN_TOPIC = frozenset({3, 17, -188})
"""UNKNOWN_TOPIC_OR_PART, INVALID_TOPIC_EXCEPTION, _UNKNOWN_TOPIC."""
_REFUSED = _UNKNOWN_TOPIC | {29, 31, 33, 34, 35, 42, 43, 53, 54, 58, 61, AUTHENTICATION}
"""TOPIC_, CLUSTER_ and TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE,
UNSUPPORTED_VERSION, INVALID_REQUEST, UNSUPPORTED_FOR_MESSAGE_FORMAT, SECURITY_DISABLED, SASL_AUTHENTICATION_FAILED,
DELEGATION_TOKEN_AUTH_DISABLED."""
_SUSPECT = frozenset({2, 4, TOO_LARGE, 18, 32, 44, 87})
"""INVALID_MSG, INVALID_MSG_SIZE, MSG_SIZE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, POLICY_VIOLATION,
INVALID_RECORD: of one record, but the broker says it of all that came with it."""
_UNKNOWN_OUTCOME = frozenset({7, -195, FATAL, TIMED_OUT, PURGED_IN_FLIGHT})
"""REQUEST_TIMED_OUT, _TRANSPORT: the broker may have it."""
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the library or of a broker."""

    code: int
    text: str
    alone: bool = False
    """Whether it was said of this record, and not of all that went with it."""


class _Kind(Enum):
    REFUSED = "refused"
    SUSPECT = "suspect"
    PASSING = "passing"


def outcome_of(
    records: Sequence[Record], failures: Mapping[int, Failure], rejected: Mapping[int, str], *, n_events: int
) -> Outcome | None:
    """The outcome of a call with so many events, by the failures of its records by index.

    Raises `CredentialsRefused` when nothing was delivered and an operator has to act, `Retry` when all goes again, and
    `Rejected` when the batch has to be halved. Of a key all events that come after one that goes again go again too, so
    that its last state wins.
    """
    if not failures:
        return Outcome(rejected=rejected) if rejected else None
    kinds, to_blame = _parted(records, failures)
    rejected = {**rejected, **to_blame}
    again = _with_followers(records, kinds) - rejected.keys()
    if not again:
        return Outcome(rejected=rejected)
    first = {kind: failures[index] for index, kind in reversed(kinds.items())}
    refused, suspect = first.get(_Kind.REFUSED), first.get(_Kind.SUSPECT)
    if refused is not None and not rejected and len(kinds) == n_events:
        raise CredentialsRefused(refused.text)
    passing = refused or first.get(_Kind.PASSING)
    if passing is None and suspect is not None and len(again) == n_events:
        raise Rejected(suspect.text)
    codes = {failures[index].code for index in kinds}
    outcome = Outcome(
        rejected=rejected,
        again=again,
        reason=passing.text if passing else "",
        outcome_unknown=bool(codes & _UNKNOWN_OUTCOME),
        status=TOO_MANY_REQUESTS if passing and passing.code in _THROTTLED else None,
    )
    error = outcome.failure()
    if len(again) == n_events and error is not None:
        raise error
    return outcome


def _parted(records: Sequence[Record], failures: Mapping[int, Failure]) -> tuple[dict[int, _Kind], dict[int, str]]:
    """Which kind of failure records have met, and of those that are to blame themselves the reason."""
    kinds: dict[int, _Kind] = {}
    to_blame: dict[int, str] = {}
    for record in records:
        failure = failures.get(record.index)
        if failure is None:
            continue
        kind = _kind(failure.code)
        by_itself = kind is _Kind.SUSPECT and (failure.alone or len(records) == 1)
        if by_itself or (record.chosen and failure.code in _UNKNOWN_TOPIC):
            to_blame[record.index] = failure.text
        else:
            kinds[record.index] = kind
    return kinds, to_blame


def _kind(code: int) -> _Kind:
    if code in _REFUSED:
        return _Kind.REFUSED
    return _Kind.SUSPECT if code in _SUSPECT else _Kind.PASSING


def _with_followers(records: Sequence[Record], failed: Mapping[int, object]) -> frozenset[int]:
    """The failed ones, and those of the same topic and key after them."""
    again: set[int] = set()
    stopped: set[tuple[str, bytes]] = set()
    for record in records:
        place = None if record.key is None else (record.topic, record.key)
        if record.index in failed or place in stopped:
            again.add(record.index)
            if place is not None:
                stopped.add(place)
    return frozenset(again)

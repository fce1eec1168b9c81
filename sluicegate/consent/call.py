"""What a person decided, told directly: the body of `POST /v1/consent`, and c15t's event of type `consent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.config.model import BUILT_IN_PURPOSES
from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.moment import read_moment_ms
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.stamp import MAX_CATEGORIES, MAX_CATEGORY_LENGTH
from sluicegate.consent.subject import MAX_ID_LENGTH, Subject, is_id
from sluicegate.errors import BodyRefused

MAX_POLICY_LENGTH = 128

REVOKED = "revoked"
ACTIONS = frozenset({"granted", "updated", REVOKED})
"""What c15t's event says in `action`."""


@dataclass(frozen=True, slots=True)
class ConsentCall:
    """One decision: whose, on what, when (None for now), until when (0 for no end), under which policy."""

    subject: Subject
    decided: Mapping[str, bool]
    decided_at_ms: int | None = None
    until_ms: int = 0
    policy: str = ""

    def told(self, *, evidence: Evidence, source: str, received_ms: int) -> Told:
        """The decision as an entry for the ledger; its time is never later than `received_ms`."""
        at_ms = received_ms if self.decided_at_ms is None else self.decided_at_ms
        writes = decision(self.decided, at_ms, received_ms=received_ms, until_ms=self.until_ms, policy=self.policy)
        return Told(self.subject, writes, evidence, source)


def read_consent_call(members: Mapping[str, Any], *, aliases: Mapping[str, str]) -> ConsentCall:
    """The decision in a body `{userId?, anonymousId?, preferences, decidedAt?, validUntil?, policyVersion?}`, decoded.

    Whatever cannot be understood refuses the whole with `BodyRefused`: whoever sends it must learn of it. Members that
    have other names are ignored.
    """
    return ConsentCall(
        _subject(members),
        _decided(members.get("preferences"), aliases),
        _time(members, "decidedAt"),
        _time(members, "validUntil") or 0,
        _policy(members.get("policyVersion")),
    )


def checked_call(
    preferences: Mapping[str, bool],
    *,
    user_id: str | None,
    anonymous_id: str | None,
    decided_at_ms: int | None = None,
    policy: str = "",
    aliases: Mapping[str, str],
) -> ConsentCall:
    """The decision in these values, checked like a body; raises `BodyRefused`."""
    members = {
        "userId": user_id,
        "anonymousId": anonymous_id,
        "preferences": dict(preferences),
        "decidedAt": decided_at_ms,
        "policyVersion": policy,
    }
    return read_consent_call(members, aliases=aliases)


def read_consent_event(members: Mapping[str, Any], *, aliases: Mapping[str, str]) -> ConsentCall:
    """The decision in a c15t event, decoded: `{action, preferences, userId?, anonymousId?, timestamp?}`.

    `revoked` never grants: without preferences it denies every built-in purpose, and preferences that are true are
    left out. A `timestamp` that is no time leaves the decision to the time of the event. Raises `BodyRefused`.
    """
    action = members.get("action", "updated")
    if not isinstance(action, str) or action not in ACTIONS:
        raise BodyRefused("bad_action", "action must be granted, revoked or updated")
    decided: Mapping[str, bool]
    if action == REVOKED and members.get("preferences") is None:
        decided = {purpose: False for purpose in BUILT_IN_PURPOSES if purpose != NECESSARY}
    else:
        decided = _decided(members.get("preferences"), aliases)
    if action == REVOKED:
        decided = {purpose: False for purpose, granted in decided.items() if not granted}
    at_ms = _time(members, "givenAt")
    if at_ms is None:
        at_ms = read_moment_ms(members.get("timestamp"))
    return ConsentCall(_subject(members), decided, at_ms, 0, _policy(members.get("policyVersion")))


def _subject(members: Mapping[str, Any]) -> Subject:
    subject = Subject(_id(members.get("userId")), _id(members.get("anonymousId")))
    if subject.is_nobody:
        raise BodyRefused("no_subject", "neither userId nor anonymousId")
    return subject


def _id(value: object) -> str | None:
    """An id as events have it: text, or a whole number; an empty text is none."""
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return str(value)
    if value is not None and not is_id(value):
        raise BodyRefused(
            "bad_subject",
            f"userId and anonymousId must be texts of at most {MAX_ID_LENGTH} characters, or whole numbers",
        )
    return value or None


def _decided(value: object, aliases: Mapping[str, str]) -> dict[str, bool]:
    """By purpose; of several categories of one purpose a denial counts."""
    if not isinstance(value, dict) or not value or len(value) > MAX_CATEGORIES:
        raise BodyRefused(
            "bad_preferences", f"preferences must be an object of 1 to {MAX_CATEGORIES} purposes, each true or false"
        )
    decided: dict[str, bool] = {}
    for category, granted in value.items():
        if not isinstance(granted, bool):
            raise BodyRefused("bad_preferences", "every preference must be true or false")
        if not 0 < len(category) <= MAX_CATEGORY_LENGTH or not category.isprintable():
            raise BodyRefused(
                "bad_preferences", f"the name of a purpose has 1 to {MAX_CATEGORY_LENGTH} printable characters"
            )
        purpose = aliases.get(category, category)
        if purpose != NECESSARY:
            decided[purpose] = granted and decided.get(purpose, True)
    return decided


def _time(members: Mapping[str, Any], name: str) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    ms = read_moment_ms(value)
    if ms is None:
        raise BodyRefused("bad_time", f"{name} must be an ISO 8601 time, or milliseconds since 1970")
    return ms


def _policy(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_POLICY_LENGTH:
        raise BodyRefused(
            "bad_policy", f"policyVersion must be a text of at most {MAX_POLICY_LENGTH} printable characters"
        )
    return value

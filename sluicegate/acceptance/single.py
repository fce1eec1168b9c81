"""One event at a time: every check, every correction, and a verdict of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from sluicegate.acceptance.body import too_many_keys
from sluicegate.acceptance.combining import Combined, Key, More, Scope, Telling
from sluicegate.acceptance.document import read_object
from sluicegate.acceptance.head import ABSENT, MAX_ID_LENGTH, LooseContext, LooseHead, said
from sluicegate.acceptance.message_id import MessageIds
from sluicegate.acceptance.notice import CONSENT_EVENT, notice
from sluicegate.acceptance.pieces import depth_exceeds
from sluicegate.acceptance.repeats import WHITESPACE, has_duplicate, may_repeat, more_repeats
from sluicegate.acceptance.screen import fit, surely_fit
from sluicegate.acceptance.times import Clock, EventTime, read_ms, write_ms
from sluicegate.acceptance.verdict import BadEvent, Reason
from sluicegate.config.model import GatewayConfig
from sluicegate.consent.call import read_consent_event
from sluicegate.consent.evidence import Evidence
from sluicegate.errors import BodyRefused
from sluicegate.event import CONSENT_TYPE, Combo, EventType, names_of, stamp_of

_NO_MORE = (ABSENT,) * 4
_TYPES = frozenset(kind.value for kind in EventType)
_HEAD = msgspec.json.Decoder(LooseHead)
_CONTEXT = msgspec.json.Decoder(LooseContext)
_PREFERENCES = msgspec.json.Decoder(dict[str, Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


class Taken(NamedTuple):
    """One accepted event: what is stored, and the columns beside it."""

    event: bytes
    combined: Combined
    message_id: str
    user_id: str | None
    anonymous_id: str | None
    time_ms: int


class SingleReader:
    """Reads events one by one; slower than `uniform`, and the one that knows what is wrong."""

    def __init__(self, limits: GatewayConfig, ids: MessageIds) -> None:
        self._limits = limits
        self._ids = ids

    def read(self, raw: bytes, scope: Scope, clock: Clock, *, kind: str | None = None) -> Taken:
        """Accept one event; `kind` is the type of the address that it was sent to. Raises `BadEvent`."""
        raw = raw.strip(WHITESPACE)
        self._check_shape(raw)
        head = _decode(raw)
        message_id = _message_id(head.messageId)
        try:
            return self._accept(raw, head, message_id, scope, clock, kind)
        except BadEvent as bad:
            bad.message_id = message_id
            raise

    def _check_shape(self, raw: bytes) -> None:
        if len(raw) > self._limits.max_event_bytes:
            raise BadEvent(Reason.TOO_LARGE)
        if depth_exceeds(raw, self._limits.max_depth):
            raise BadEvent(Reason.TOO_DEEP)
        if too_many_keys(raw):
            raise BadEvent(Reason.TOO_MANY_KEYS)
        if may_repeat(raw) and has_duplicate(raw):
            raise BadEvent(Reason.DUPLICATE_KEY)
        if not surely_fit(raw) and not fit(raw):
            raise BadEvent(Reason.NUMBER)

    def _accept(
        self, raw: bytes, head: LooseHead, message_id: str | None, scope: Scope, clock: Clock, kind: str | None
    ) -> Taken:
        if head.type == CONSENT_TYPE and kind is None:
            return self._take_decision(raw, head, message_id, scope, clock)
        kind = _kind(head.type, kind)
        user_id, anonymous_id = _subject_id(head.userId), _subject_id(head.anonymousId)
        _check_type_rules(head, kind, has_subject=bool(user_id or anonymous_id))
        context = _context(head.context)
        is_preference = kind == EventType.TRACK and head.event == CONSENT_EVENT
        if is_preference:
            _check_preferences(context.consent)
        combined = scope[_key(raw, kind, head, context)]
        sent_ms = read_ms(head.sentAt)
        clock = clock if sent_ms is None else Clock(clock.received_ms, sent_ms)
        if clock.wrong and isinstance(combined.combo, Telling):
            combined = combined._replace(combo=combined.combo.shifted(clock.offset_ms))
        time = clock.correct(head.timestamp, head.originalTimestamp)
        stored_id = message_id or self._ids.next()
        if is_preference:
            combined = combined._replace(combo=_telling(combined.combo))
            event = notice(
                _preferences(context.consent),
                message_id=stored_id,
                user_id=user_id,
                anonymous_id=anonymous_id,
                time_ms=time.ms,
                received_ms=clock.received_ms,
            )
        else:
            event = _completed(raw, head, kind, stored_id, time, clock)
        return Taken(event, combined, stored_id, user_id, anonymous_id, time.ms)

    def _take_decision(self, raw: bytes, head: LooseHead, message_id: str | None, scope: Scope, clock: Clock) -> Taken:
        """c15t's event about a decision."""
        try:
            members = read_object(raw, max_depth=self._limits.max_depth)
            call = read_consent_event(members, aliases=scope.ways.aliases)
        except BodyRefused:
            raise BadEvent(Reason.CONSENT_EVENT) from None
        sent_ms = read_ms(head.sentAt)
        clock = clock if sent_ms is None else Clock(clock.received_ms, sent_ms)
        time = clock.correct(head.timestamp, head.originalTimestamp)
        at_ms = call.decided_at_ms
        if at_ms is not None and clock.wrong:
            at_ms += clock.offset_ms
        off, on, all_off = scope.integrations(bytes(head.integrations))
        told = stamp_of(call.decided)
        combo = Combo(CONSENT_TYPE, scope.source, told, names_of(off), names_of(on), all_off)
        combo = Telling.of(combo, told=told, evidence=Evidence.CONSENT_EVENT, decided_at_ms=at_ms, policy=call.policy)
        stored_id = message_id or self._ids.next()
        user_id, anonymous_id = call.subject
        event = notice(
            call.decided,
            message_id=stored_id,
            user_id=user_id,
            anonymous_id=anonymous_id,
            time_ms=time.ms,
            received_ms=clock.received_ms,
        )
        return Taken(event, Combined(combo, 0, 0), stored_id, user_id, anonymous_id, time.ms)


def _key(raw: bytes, kind: str, head: LooseHead, context: LooseContext) -> Key:
    """What the combination depends on; raises `BadEvent` for an event that has a part of it twice."""
    consent, segment, rudderstack = bytes(head.consent), bytes(context.consent), bytes(context.consentManagement)
    key = kind, consent, segment, rudderstack, bytes(head.integrations)
    more = (context.tcf, head.gdpr_consent, context.gpc, context.jurisdiction)
    if more == _NO_MORE:
        return key
    if more_repeats(raw) and has_duplicate(raw, more=True):
        raise BadEvent(Reason.DUPLICATE_KEY)
    return (*key, More(*map(said, more)))


def _telling(combo: Combo) -> Telling:
    """The combination of Segment's event about a decision, whose own time that is."""
    told, gpc = (combo.told, combo.gpc) if isinstance(combo, Telling) else (combo.stamp, False)
    return Telling.of(combo._replace(type=CONSENT_TYPE), told=told, evidence=Evidence.PREFERENCE_EVENT, gpc=gpc)


def _preferences(consent: Raw) -> dict[str, bool]:
    """Segment's categories by their own names, those that are true or false."""
    found = _PREFERENCES.decode(_PREFERENCES.decode(consent)["categoryPreferences"])
    values = {name: bytes(value) for name, value in found.items()}
    return {name: value == b"true" for name, value in values.items() if value in (b"true", b"false")}


def _decode(raw: bytes) -> LooseHead:
    try:
        raw.decode()
        return _HEAD.decode(raw)
    except msgspec.ValidationError:
        raise BadEvent(Reason.NOT_JSON if raw.startswith(b"{") else Reason.NOT_OBJECT) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadEvent(Reason.NOT_JSON) from None


def _message_id(value: object) -> str | None:
    """The id to use, or None for an event that needs one."""
    if value is UNSET or value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise BadEvent(Reason.MESSAGE_ID)
    return value


def _kind(value: object, address: str | None) -> str:
    if value is UNSET or value is None:
        value = address
    if not isinstance(value, str) or value not in _TYPES:
        raise BadEvent(Reason.TYPE)
    if address is not None and value != address:
        raise BadEvent(Reason.TYPE_DIFFERS)
    return value


def _subject_id(value: object) -> str | None:
    """An id as text; an empty one counts as none, because several SDKs send it for nobody."""
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return str(value)
    if value is not None and not (isinstance(value, str) and len(value) <= MAX_ID_LENGTH):
        raise BadEvent(Reason.SUBJECT)
    return value or None


def _check_type_rules(head: LooseHead, kind: str, *, has_subject: bool) -> None:
    """What Segment's specification requires of each type (segment.com/docs/connections/spec)."""
    if not has_subject:
        raise BadEvent(Reason.NO_SUBJECT)
    if kind == EventType.TRACK and not (isinstance(head.event, str) and head.event):
        raise BadEvent(Reason.NO_EVENT_NAME)
    if kind == EventType.GROUP and not _is_id(head.groupId):
        raise BadEvent(Reason.NO_GROUP_ID)
    if kind == EventType.ALIAS and not _is_id(head.previousId):
        raise BadEvent(Reason.NO_PREVIOUS_ID)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _context(raw: Raw) -> LooseContext:
    if raw is ABSENT or bytes(raw) == b"null":
        return LooseContext()
    try:
        return _CONTEXT.decode(raw)
    except msgspec.DecodeError:
        raise BadEvent(Reason.CONTEXT) from None


def _check_preferences(consent: Raw) -> None:
    try:
        found = _PREFERENCES.decode(consent)
        _PREFERENCES.decode(found["categoryPreferences"])
    except (msgspec.DecodeError, KeyError):
        raise BadEvent(Reason.NO_PREFERENCES) from None


def _completed(raw: bytes, head: LooseHead, kind: str, message_id: str, time: EventTime, clock: Clock) -> bytes:
    """The bytes to store: as sent, with what is missing put in front."""
    received = write_ms(clock.received_ms)
    missing: dict[str, Any] = {"receivedAt": received}
    if head.type is UNSET or head.type is None:
        missing["type"] = kind
    if head.messageId is UNSET or head.messageId is None:
        missing["messageId"] = message_id
    if time.rewrite:
        missing["timestamp"] = write_ms(time.ms)
    replaces = head.receivedAt is not ABSENT or None in (head.type, head.messageId)
    if replaces or (time.rewrite and head.timestamp is not UNSET):
        return _rewritten(raw, head, missing)
    return msgspec.json.encode(missing)[:-1] + b"," + raw[1:]


def _rewritten(raw: bytes, head: LooseHead, changes: dict[str, Any]) -> bytes:
    """The event with members replaced; the values of all others keep their bytes."""
    members: dict[str, Any] = dict(_MEMBERS.decode(raw))
    if "timestamp" in changes and head.timestamp not in (UNSET, None) and head.originalTimestamp in (UNSET, None):
        members["originalTimestamp"] = members["timestamp"]
    members.update(changes)
    return msgspec.json.encode(members)

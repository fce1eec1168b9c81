"""An event as a row of fixed columns, the same in every file. Pure; what makes a file of rows is elsewhere.

Names and meaning are those of the warehouse schema. Nothing is flattened and nothing is lost: objects are JSON texts as
they were received, and all that has no column of its own, or does not fit it, is in `other`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sluicegate.destinations.objectstore_naming import read_time

ID = "id"
OTHER = "other"
TEXTS = {
    "type": "type",
    "event": "event",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "name": "name",
    "group_id": "groupId",
    "previous_id": "previousId",
    "channel": "channel",
}
TIMES = {
    "timestamp": "timestamp",
    "original_timestamp": "originalTimestamp",
    "sent_at": "sentAt",
    "received_at": "receivedAt",
}
OBJECTS = {"context": "context", "properties": "properties", "traits": "traits"}
COLUMNS = (ID, *TEXTS, *TIMES, *OBJECTS, OTHER)

Value = str | None
"""Times are texts too, in ISO 8601, UTC, with milliseconds."""
_MESSAGE_ID = "messageId"
_NULL = b"null"
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def columns_of(raws: Sequence[bytes], message_ids: Sequence[str], rejected: dict[int, str]) -> dict[str, list[Value]]:
    """The columns of these events; those that are no JSON object are put into `rejected` and into no row."""
    columns: dict[str, list[Value]] = {name: [] for name in COLUMNS}
    for index, (raw, message_id) in enumerate(zip(raws, message_ids, strict=True)):
        try:
            row = row_of(_decode(raw), message_id)
        except (msgspec.DecodeError, RecursionError) as error:
            rejected[index] = f"cannot be a row: {error}"
            continue
        for name, value in row.items():
            columns[name].append(value)
    return columns


def row_of(event: dict[str, msgspec.Raw], message_id: str) -> dict[str, Value]:
    """One event as a row; takes what it uses out of `event`."""
    row: dict[str, Value] = {ID: message_id}
    for name, key in TEXTS.items():
        row[name] = _text(event.pop(key, None))
    for name, key in TIMES.items():
        row[name] = _time(event, key)
    for name, key in OBJECTS.items():
        value = event.pop(key, None)
        row[name] = None if value is None or bytes(value) == _NULL else bytes(value).decode()
    if _text(event.get(_MESSAGE_ID)) == message_id:
        del event[_MESSAGE_ID]
    row[OTHER] = msgspec.json.encode(event).decode() if event else None
    return row


def shown(row: dict[str, Value]) -> dict[str, str]:
    """A row for people, without what is empty."""
    return {name: value for name, value in row.items() if value is not None}


def _text(value: msgspec.Raw | None) -> str | None:
    if value is None:
        return None
    raw = bytes(value)
    if raw[:1] == b'"':
        return _decode_text(raw)
    return None if raw == _NULL else raw.decode()


def _time(event: dict[str, msgspec.Raw], key: str) -> str | None:
    """A time, taken out of the event if it is one."""
    value = event.get(key)
    if value is None or bytes(value) == _NULL:
        event.pop(key, None)
        return None
    raw = bytes(value)
    time = read_time(_decode_text(raw)) if raw[:1] == b'"' else None
    if time is None:
        return None
    del event[key]
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"

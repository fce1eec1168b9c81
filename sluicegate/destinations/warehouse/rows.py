"""An event's rows: `tracks` and a table of its own, `identifies` and `users`, `pages`, `screens`, `groups`, `aliases`.

The schema is RudderStack's (rudderstack.com/docs/destinations/warehouse-destinations/warehouse-schema) with three
differences: no property is lost because its name is taken or has no ASCII, columns that every event has never change
their types, and no event is put into another event's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluicegate.destinations.warehouse.dialect import Dialect
from sluicegate.destinations.warehouse.names import (
    column_name,
    event_name,
    event_table,
    identity,
    own_table,
    suffixed,
)
from sluicegate.destinations.warehouse.values import Kind, Stored, Unfit, as_json, as_text, classify, read_time

MAX_COLUMNS = 200
"""Columns that one event may have in one table, RudderStack's limit: more are a mistake of whoever sends it."""
MAX_VALUES = 2 * MAX_COLUMNS
"""After so many values nothing more is read: an event in which many are empty once they are read is a mistake too."""
TOO_MANY = f"has more than {MAX_COLUMNS} columns; send fewer properties, or one as a list"
MAX_DEPTH = 16
"""Objects inside objects; what is deeper is kept as JSON text."""

_BELOW = "\x1f"
"""Stands between the keys of a path, so that `{"a": {"b": 1}}` is told apart from `{"a_b": 1}`."""
_TIMES = (
    ("sent_at", "sentAt"),
    ("timestamp", "timestamp"),
    ("received_at", "receivedAt"),
    ("original_timestamp", "originalTimestamp"),
)
_IDS = (("anonymous_id", "anonymousId"), ("user_id", "userId"))
_EXTRA = {
    "track": ("event_text", "event"),
    "page": ("name",),
    "screen": ("name",),
    "group": ("group_id",),
    "alias": ("previous_id",),
    "identify": (),
}
_COMMON = frozenset(
    {"id", "channel", "context_ip", "context_request_ip", "context_passed_ip"}
    | {column for column, _ in (*_TIMES, *_IDS)}
)
_ONLY_IN_IDENTIFIES = frozenset({"anonymous_id", "user_id", "sent_at", "timestamp", "original_timestamp", "channel"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event came from and goes to, as far as it is known; shown in columns `context_...`."""

    destination_id: str | None = None
    source_id: str | None = None
    request_ip: str | None = None


@dataclass(slots=True)
class Row:
    """One row of one table: the values by column, their types, and for times the texts as they were sent.

    `owner` is the identity of the event that a table belongs to, None for tables that many events share; `index` is
    the event's place in its batch.
    """

    table: str
    kinds: dict[str, Kind] = field(default_factory=dict)
    data: dict[str, Stored] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    owner: str | None = None
    index: int = 0

    def columns(self, dialect: Dialect) -> dict[str, Kind]:
        """All columns of the row, those that are set while loading first."""
        return dict.fromkeys(dialect.load_columns, Kind.DATETIME) | self.kinds


def rows_of(
    event: Mapping[str, Any],
    *,
    message_id: str,
    dialect: Dialect,
    origin: Origin = Origin(),
    json_columns: frozenset[str] = frozenset(),
) -> list[Row]:
    """The rows of one event; raises `Unfit` when it cannot be stored. `json_columns` are not flattened."""
    kind = str(event.get("type") or "track").lower()
    if kind not in _EXTRA:
        raise Unfit(f"events of type {kind[:40]!r} have no table")
    context = _context(event, kind, origin)
    fixed = _fixed(event, kind, message_id=message_id, context=context, origin=origin, dialect=dialect)
    reader = _Reader(dialect, json_columns=json_columns, fixed=fixed, reserved=_COMMON.union(_EXTRA[kind]))
    reader.share(context)
    if kind == "track":
        rows = _track_rows(event, reader, dialect)
    elif kind == "identify":
        rows = _identify_rows(event, reader, dialect)
    else:
        own = event.get("traits") if kind == "group" else event.get("properties")
        tables = {"page": "pages", "screen": "screens", "group": "groups", "alias": "aliases"}
        rows = [reader.row(own_table(tables[kind], dialect), own)]
    for row in rows:
        if len(row.kinds) + len(dialect.load_columns) > MAX_COLUMNS:
            raise Unfit(TOO_MANY)
    return rows


def _track_rows(event: Mapping[str, Any], reader: _Reader, dialect: Dialect) -> list[Row]:
    rows = [reader.row(own_table("tracks", dialect), None)]
    name = event.get("event")
    if isinstance(name, str) and name.strip():
        row = reader.row(event_table(name, dialect), event.get("properties"))
        row.owner = identity(name)
        rows.append(row)
    return rows


def _identify_rows(event: Mapping[str, Any], reader: _Reader, dialect: Dialect) -> list[Row]:
    rows = [reader.row(own_table("identifies", dialect), event.get("traits"))]
    user_id = event.get("userId")
    if user_id not in (None, ""):
        user = Row(own_table("users", dialect), dict(rows[0].kinds), dict(rows[0].data), dict(rows[0].texts))
        for column in _ONLY_IN_IDENTIFIES:
            user.kinds.pop(column, None)
            user.data.pop(column, None)
        user.data["id"] = as_text(str(user_id), dialect)
        rows.append(user)
    return rows


def _context(event: Mapping[str, Any], kind: str, origin: Origin) -> dict[str, Any]:
    """The context, with an identify's traits and the ids of where it came from and goes to."""
    given = event.get("context")
    context = dict(given) if isinstance(given, dict) else {}
    traits = event.get("traits")
    if kind == "identify" and isinstance(traits, dict):
        known = context.get("traits")
        context["traits"] = {**(known if isinstance(known, dict) else {}), **traits}
    for key, value in (("source_id", origin.source_id), ("destination_id", origin.destination_id)):
        if value is not None:
            context.setdefault(key, value)
    return context


def _fixed(
    event: Mapping[str, Any],
    kind: str,
    *,
    message_id: str,
    context: Mapping[str, Any],
    origin: Origin,
    dialect: Dialect,
) -> dict[str, tuple[Kind, str]]:
    """The columns whose types never depend on what is sent."""
    texts: dict[str, object] = {"id": message_id, "channel": event.get("channel")}
    texts |= {column: event.get(key) for column, key in _IDS}
    request_ip = event.get("request_ip") or origin.request_ip
    ip = context.get("ip")
    texts |= {"context_ip": ip or request_ip, "context_request_ip": request_ip, "context_passed_ip": ip}
    texts |= _extra(event, kind)
    found = {
        column: (Kind.STRING, as_text(value if isinstance(value, str) else str(value), dialect))
        for column, value in texts.items()
        if isinstance(value, str | int | float) and value != ""
    }
    for column, key in _TIMES:
        value = event.get(key)
        time = read_time(value, dialect) if isinstance(value, str) else None
        if time is not None:
            found[column] = (Kind.DATETIME, time)
    return found


def _extra(event: Mapping[str, Any], kind: str) -> dict[str, object]:
    if kind == "track":
        name = event.get("event")
        return {"event_text": name, "event": event_name(name) if isinstance(name, str) else None}
    if kind in ("page", "screen"):
        properties = event.get("properties")
        return {"name": event.get("name") or (properties.get("name") if isinstance(properties, dict) else None)}
    return {"group_id": event.get("groupId")} if kind == "group" else {"previous_id": event.get("previousId")}


class _Reader:
    """Reads the objects of one event into rows; `reserved` are columns that only `fixed` may fill."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        json_columns: frozenset[str],
        fixed: Mapping[str, tuple[Kind, str]],
        reserved: frozenset[str],
    ) -> None:
        self._dialect = dialect
        self._json_columns = json_columns
        self._fixed = fixed
        self._reserved = reserved.union(dialect.load_columns)
        self._shared = Row("")
        self._paths: dict[str, str] = {}

    def share(self, context: object) -> None:
        """Read what all rows of the event have: the context and the fixed columns."""
        self._read(self._shared, self._paths, context, "context" + _BELOW, MAX_DEPTH)
        for column, (kind, value) in self._fixed.items():
            name = column_name(column, self._dialect)
            self._shared.kinds[name] = kind
            self._shared.data[name] = value

    def row(self, table: str, own: object) -> Row:
        """A row of this table: its own values, and what all rows have."""
        row, shared = Row(table), self._shared
        self._read(row, dict(self._paths), own, "", MAX_DEPTH)
        row.kinds |= shared.kinds
        row.data |= shared.data
        row.texts |= shared.texts
        return row

    def _read(self, row: Row, paths: dict[str, str], values: object, prefix: str, depth: int) -> None:
        if not isinstance(values, dict):
            return
        for key, value in values.items():
            if not value and value is not False and value != 0:
                continue  # null, and texts, lists and objects that are empty
            path = prefix + key
            if isinstance(value, dict) and depth and not self._keeps(path):
                self._read(row, paths, value, path + _BELOW, depth - 1)
            else:
                self._put(row, paths, path, value)

    def _keeps(self, path: str) -> bool:
        """Whether the object at this path has a column of its own."""
        return bool(self._json_columns) and column_name(path, self._dialect) in self._json_columns

    def _typed(self, column: str, value: object) -> tuple[Kind, Stored]:
        if column in self._json_columns:
            return Kind.JSON, as_json(value, self._dialect)
        return classify(value, self._dialect)

    def _put(self, row: Row, paths: dict[str, str], path: str, value: object) -> None:
        if len(paths) > MAX_VALUES:
            raise Unfit(TOO_MANY)
        column = column_name(path, self._dialect)
        kind, stored = self._typed(column, value)
        if column in self._reserved:
            fixed = self._fixed.get(column)
            if fixed is not None and fixed[1] == stored:
                return
            column = f"_{column}"[: self._dialect.max_name]
        if paths.setdefault(column, path) != path:
            column = suffixed(column, path, self._dialect)
            paths[column] = path
        if kind is Kind.STRING and stored == "":
            return
        row.kinds[column] = kind
        row.data[column] = stored
        if kind is Kind.DATETIME:
            row.texts[column] = str(value)

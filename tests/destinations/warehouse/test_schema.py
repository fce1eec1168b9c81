from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.destinations.warehouse.dialect import BIGQUERY, CLICKHOUSE, POSTGRES, Dialect
from sluicegate.destinations.warehouse.names import column_name, event_table, identity, snake_case, suffixed
from sluicegate.destinations.warehouse.plan import Plan, Planner, Table, tables_of
from sluicegate.destinations.warehouse.rows import MAX_COLUMNS, Row, rows_of
from sluicegate.destinations.warehouse.values import Kind, Unfit, classify, fitted

ALL = (POSTGRES, CLICKHOUSE, BIGQUERY)
NAME = re.compile(r"[a-z_][a-z0-9_]*")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | NUMBERS | TEXTS
OBJECTS = st.recursive(
    st.dictionaries(TEXTS, SCALARS, max_size=5), lambda inner: st.dictionaries(TEXTS, inner | SCALARS, max_size=4)
)


def rows(dialect: Dialect = POSTGRES, /, index: int = 0, **event: Any) -> list[Row]:
    found = rows_of({"type": "track", "event": "Bought"} | event, message_id=f"m-{index}", dialect=dialect)
    for row in found:
        row.index = index
    return found


def plan(*events: list[Row], known: dict[str, Table] | None = None, **options: Any) -> Plan:
    return Planner(known or {}, POSTGRES, **options).plan(events)


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Order Completed", "order_completed"),
        ("CamelCase123Key", "camel_case123_key"),
        ("9mega________-________90", "_9mega_90"),
        ("ome$ga", "ome_ga"),
        ("Cízǔ", "c_z"),
        ("1CComega", "_1cc_omega"),
        ("userID", "user_id"),
        ("HTTPServer", "http_server"),
        ("注文", ""),
    ],
)
def test_names_become_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@given(name=TEXTS)
def test_every_name_is_safe_and_short_enough(dialect: Dialect, name: str) -> None:
    found = [column_name(name, dialect), suffixed(column_name(name, dialect), name, dialect)]
    if name.strip():
        found.append(event_table(name, dialect))

    for safe in found:
        assert NAME.fullmatch(safe)
        assert len(safe) <= dialect.max_name
        assert safe not in dialect.reserved
        assert not safe.startswith(dialect.forbidden_prefixes or ("\0",))


@pytest.mark.parametrize("event", ["tracks", "Users", "identifies", "PAGES", "groups", "_groups"])
@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_event_does_not_take_a_table_of_the_schema(dialect: Dialect, event: str) -> None:
    table = event_table(event, dialect)

    assert table not in ("tracks", "users", "identifies", "pages", "groups")
    assert dialect is not BIGQUERY or table != "_groups"


def test_identity_tells_apart_what_the_table_name_does_not() -> None:
    assert identity("Order Completed") == identity("order_completed") == identity("OrderCompleted")
    assert len({identity(name) for name in ("Zażółć", "Zaśółć", "Za", "za!", "x" * 300, "x" * 301)}) == 6


@given(value=SCALARS, dialect=st.sampled_from(ALL))
def test_a_value_fits_a_column_of_its_own_type_and_a_text(value: Any, dialect: Dialect) -> None:
    kind, stored = classify(value, dialect)

    assert fitted(stored, kind, kind) == stored
    assert isinstance(fitted(stored, kind, Kind.STRING), str)


@given(value=SCALARS, column=st.sampled_from(Kind))
def test_what_fits_keeps_its_value(value: Any, column: Kind) -> None:
    kind, stored = classify(value, CLICKHOUSE)
    try:
        found = fitted(stored, kind, column)
    except Unfit:
        return

    if kind in (Kind.INT, Kind.FLOAT) and column in (Kind.INT, Kind.FLOAT):
        assert found == stored or (column is Kind.FLOAT and found == float(stored))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-05", "2026-01-05T00:00:00.000Z"),
        ("2026-01-05T10:00:00+02:00", "2026-01-05T08:00:00.000Z"),
        ("2026-01-05 10:00", "2026-01-05T10:00:00.000Z"),
        ("2026-01-05T10:00:00.123456Z", "2026-01-05T10:00:00.123Z"),
    ],
)
def test_times_have_one_form(text: str, shown: str) -> None:
    assert classify(text, POSTGRES) == (Kind.DATETIME, shown)


@pytest.mark.parametrize("text", ["2026-02-30", "2026", "2026-01", "20260105", "0001-01-01T00:00:00+10:00", "12:00"])
def test_texts_that_only_look_like_times_are_texts(text: str) -> None:
    assert classify(text, POSTGRES) == (Kind.STRING, text)


@given(properties=OBJECTS, context=OBJECTS)
def test_no_property_is_lost(properties: dict[str, Any], context: dict[str, Any]) -> None:
    try:
        _, row = rows(properties=properties, context=context)
    except Unfit as error:
        assert str(MAX_COLUMNS) in str(error)
        return

    wanted = [classify(value, POSTGRES)[1] for value in (*leaves(properties), *leaves(context))]
    missing = [value for value in wanted if value not in row.data.values() and value != ""]
    assert missing == []


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [] if value in ("", None) else [value]


def test_properties_of_one_column_have_two() -> None:
    _, row = rows(properties={"Price": 1, "price": 2, "żó": 3, "łć": 4, "a": {"b": 5}, "a_b": 6, "id": "mine"})

    assert {"price": 1, "a_b": 5, "_id": "mine", "id": "m-0"}.items() <= row.data.items()
    assert {2, 3, 4, 6} <= set(row.data.values())


def test_columns_that_every_event_has_never_change_their_type() -> None:
    track, _ = rows(userId="2026-01-05", anonymousId=7, sentAt="yesterday", timestamp="2026-01-05T00:00:00Z")

    assert track.kinds["user_id"] is track.kinds["anonymous_id"] is Kind.STRING
    assert track.data["anonymous_id"] == "7"
    assert track.kinds["timestamp"] is Kind.DATETIME
    assert "sent_at" not in track.kinds


def test_very_deep_objects_are_kept_as_json() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}

    _, row = rows(properties=deep)

    assert any(str(value).startswith('{"a":') for value in row.data.values())


def test_event_of_an_unknown_type_is_unfit() -> None:
    with pytest.raises(Unfit, match="have no table"):
        rows(type="heartbeat")


def test_event_without_a_name_is_in_tracks_only() -> None:
    assert [row.table for row in rows(event=" ")] == ["tracks"]


def test_plan_decides_as_if_each_event_had_come_alone() -> None:
    found = plan(*(rows(index=n, properties={"a": value}) for n, value in enumerate([1, "x", 1.5, "2", True])))

    assert list(found.rejected) == [1, 4]
    assert found.changes["bought"].add["a"] is Kind.FLOAT
    assert [row.data["a"] for row in found.rows["bought"]] == [1, 1.5, 2.0]
    assert len(found.rows["tracks"]) == 3


def test_event_that_is_rejected_changes_no_table() -> None:
    known = {"bought": Table({"a": Kind.INT})}

    found = plan(rows(properties={"new": 1, "a": "x"}), known=known)

    assert (found.rows, found.changes, list(found.rejected)) == ({}, {}, [0])


def test_plan_without_changes_gives_rows_as_they_are() -> None:
    event = rows(properties={"a": 1})
    known = {row.table: Table(row.kinds) for row in event}

    found = plan(event, known=known)

    assert found.changes == {}
    assert [group[0] for group in found.rows.values()] == event


def test_table_of_another_event_is_left_alone() -> None:
    mine, other = rows(event="Zażółć"), rows(index=1, event="Zaśółć")
    known = {"za": Table({}, owner=identity("Zaśółć"))}

    found = plan(mine, other, known=known)

    (suffixed_table,) = set(found.rows) - {"za", "tracks"}
    assert suffixed_table in tables_of([mine], POSTGRES)
    assert [row.index for row in found.rows["za"]] == [1]
    assert found.changes[suffixed_table].owner == identity("Zażółć")


def test_table_whose_owner_is_not_known_takes_every_event_of_its_name() -> None:
    found = plan(rows(event="Zażółć"), rows(index=1, event="Zaśółć"), known={"za": Table({})})

    assert len(found.rows["za"]) == 2


def test_columns_of_a_table_are_bounded() -> None:
    known = {"bought": Table({f"c{n}": Kind.INT for n in range(POSTGRES.max_columns)})}

    found = plan(rows(properties={"one_more": 1}), known=known)

    assert "more than 1600 columns" in found.rejected[0]


@pytest.mark.parametrize("n_values", [190, 2_000])
def test_long_keys_above_many_values_cost_little(n_values: int) -> None:
    properties = {"long key " * 1_600: {f"a{n}": 1 for n in range(n_values)}}
    began_s = time.process_time()

    try:
        n_columns = len(rows(properties=properties)[1].kinds)
    except Unfit as error:
        n_columns = 0
        assert "200 columns" in str(error)

    assert time.process_time() - began_s < 0.4
    assert n_columns == (0 if n_values > MAX_COLUMNS else n_values + 3)

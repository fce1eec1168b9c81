from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
from hypothesis import strategies as st

from sluicegate.destinations.base import Destination
from sluicegate.errors import Rejected
from sluicegate.testing.destination_contract import make_batch

HOSTILE = [
    'x"; DROP TABLE tracks; --',
    "x'); DELETE FROM tracks; --",
    "$$;select 1",
    "id",
    "select",
    "users",
    "_users",
    "tracks",
    "uuid_ts",
    "ctid",
    "\0",
    "a\0b",
    "\\.",
    "\\N",
    "\t\n\r",
    "żółć",
    "注文",
    "%s %(a)s {}",
    "x" * 200,
    "1e5",
    "-",
    "",
]
NAMES = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | NAMES
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
EVENTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("track"), "event": NAMES, "properties": OBJECTS, "context": OBJECTS}),
    st.fixed_dictionaries({"type": st.just("identify"), "userId": NAMES, "traits": OBJECTS}),
    st.fixed_dictionaries({"type": st.sampled_from(["page", "screen"]), "name": NAMES, "properties": OBJECTS}),
)
SERIAL = count()
TABLES = {"track": "tracks", "identify": "identifies", "page": "pages", "screen": "screens"}


def deliver(destination: Destination, events: list[dict[str, Any]]) -> tuple[dict[str, list[str]], set[str]]:
    """Deliver events under ids of their own: the ids that each table must have got, and those that were rejected."""
    ids = [f"h-{next(SERIAL):06}" for _ in events]
    raws = [msgspec.json.encode(event | {"timestamp": "2026-01-05T12:00:00.000Z"}) for event in events]
    rejected: set[int] = set()
    try:
        destination.deliver(make_batch(ids, raws=raws))
    except Rejected as error:
        assert isinstance(error.reasons, dict), error.reasons
        rejected = set(error.reasons)
    stored: dict[str, list[str]] = {table: [] for table in TABLES.values()}
    for n, event in enumerate(events):
        if n not in rejected:
            stored[TABLES[event["type"]]].append(ids[n])
    return stored, {ids[n] for n in rejected}

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.destinations.postgres import Postgres
from sluicegate.errors import Rejected
from sluicegate.testing.destination_contract import make_batch
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.postgres_cluster import PostgresCluster

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


@pytest.fixture(scope="module")
def peer(cluster: PostgresCluster) -> PostgresPeer:
    return PostgresPeer(cluster)


@pytest.fixture(scope="module")
def destination(peer: PostgresPeer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    made = peer.make(Path(tmp_path_factory.mktemp("data")))
    made.initialize()
    yield made
    made.destroy()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(events=st.lists(EVENTS, min_size=1, max_size=6))
def test_every_event_is_stored_or_rejected_by_itself(
    destination: Postgres, peer: PostgresPeer, events: list[dict[str, Any]]
) -> None:
    ids = [f"h-{next(SERIAL)}" for _ in events]
    raws = [msgspec.json.encode(event | {"timestamp": "2026-01-05T12:00:00.000Z"}) for event in events]

    rejected: set[int] = set()
    try:
        destination.deliver(make_batch(ids, raws=raws))
    except Rejected as error:
        assert isinstance(error.reasons, dict), error.reasons
        rejected = set(error.reasons)

    for table, kind in (("tracks", "track"), ("identifies", "identify"), ("pages", "page"), ("screens", "screen")):
        wanted = [id_ for n, id_ in enumerate(ids) if events[n]["type"] == kind and n not in rejected]
        stored = peer.ids(table)
        assert stored[len(stored) - len(wanted) :] == wanted
        assert not {ids[n] for n in rejected} & set(stored)

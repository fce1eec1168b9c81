"""The held events of one store: the product's own table and statements, in memory, with what a power cut needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw

from sluicegate.accounts import store_schema
from sluicegate.delivery.held import HeldEvents
from sluicegate.delivery.settlement import HeldRow
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import fetch

if TYPE_CHECKING:
    from tests.simulation.store import ModelStore


class OneHeld(NamedTuple):
    """A row of the table."""

    offset: Offset
    subject: int
    also: int | None
    arrived_ms: int
    released: int
    deaths: int
    died: int


@dataclass(frozen=True, slots=True)
class HeldState:
    """All that a store has of held events at one moment; `n_held` is the count that the store keeps beside them."""

    rows: tuple[OneHeld, ...] = ()
    n_held: int = 0
    considered: int = 0
    under: str = ""


class HeldTable:
    """The table; made when something is first held, as most stores of a run never hold anything."""

    def __init__(self) -> None:
        self._db: apsw.Connection | None = None

    @property
    def db(self) -> apsw.Connection:
        """The store's file as SQLite has it; only what holding needs is in it."""
        if self._db is None:
            self._db = apsw.Connection(":memory:")
            self._db.deserialize("main", _empty_store())
        return self._db

    def state(self) -> HeldState:
        """What is in it."""
        if self._db is None:
            return NOTHING_HELD
        rows = fetch(self._db, "SELECT log_offset, subject, also, arrived_at_ms, released, deaths, died FROM held")
        (counts,) = fetch(self._db, "SELECT held, considered, held_under FROM state")
        return HeldState(tuple(map(OneHeld._make, rows)), *counts)

    def restore(self, state: HeldState) -> None:
        """Make it what it was."""
        if self._db is None:
            return
        self._db.execute("DELETE FROM held")
        self._db.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?)", state.rows)
        counts = state.n_held, state.considered, state.under
        self._db.execute("UPDATE state SET held = ?, considered = ?, held_under = ?", counts)


class ModelHeld:
    """The held events of an open store: those of the product, where each look may fail as a disk does."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def of(self, numbers: Iterable[int] | None) -> list[Offset]:
        """As `HeldEvents.of`."""
        return self._events().of(numbers) if self._any() else []

    def released(self, *, limit: int) -> Mapping[Offset, int]:
        """As `HeldEvents.released`."""
        return self._events().released(limit=limit) if self._any() else {}

    def expired(self, *, arrived_before_ms: int, limit: int) -> list[Offset]:
        """As `HeldEvents.expired`."""
        return self._events().expired(arrived_before_ms=arrived_before_ms, limit=limit) if self._any() else []

    def before(self, offset: Offset, *, limit: int, after: Offset = 0) -> list[Offset]:
        """As `HeldEvents.before`."""
        return self._events().before(offset, limit=limit, after=after) if self._any() else []

    def oldest(self) -> HeldRow | None:
        """As `HeldEvents.oldest`."""
        return self._events().oldest() if self._any() else None

    def _any(self) -> bool:
        self._store.enter()
        return bool(self._store.file.content.held.rows)

    def _events(self) -> HeldEvents:
        return HeldEvents(self._store.file.table.db, Path(self._store.file.id))


@lru_cache(maxsize=1)
def _empty_store() -> bytes:
    db = apsw.Connection(":memory:")
    db.execute(store_schema(0).sql)
    return db.serialize("main")


NOTHING_HELD = HeldState()

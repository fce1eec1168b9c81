"""The proof over all destinations: is every chain whole, and does it account for every event?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from sluicegate.accounts import read_state, reading_store, words_of
from sluicegate.audit.beginning import before_first
from sluicegate.audit.chain import N_GROWING
from sluicegate.audit.reading import (
    Checked,
    Entry,
    check,
    entries_of,
    has_chain,
    hash_at,
    ranges,
    rows_after,
    rows_apart,
)
from sluicegate.audit.words import Final, final
from sluicegate.errors import LogDamaged, LogError
from sluicegate.eventlog.base import Offset
from sluicegate.paths import DataDir
from sluicegate.sqlite import fetch

MAX_ROW = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Verified:
    """One destination's chain: `fault` says what is wrong with it, None: nothing is.

    `accepted` events came since the destination was registered; `decided` says how those that are settled ended,
    `held` wait for a decision and `waiting` were not looked at yet: they add up when nothing is wrong. `since` is the
    offset from which on each event can be looked up; what was before is in the counts alone. `head` and `head_hash` are
    those of the newest row that will not be added to any more, 0 and empty when there is none yet.
    """

    destination: str
    accepted: int
    decided: Mapping[str, int]
    held: int
    waiting: int
    since: Offset
    rows: int
    first_row: int
    head: int
    head_hash: str
    fault: str | None

    @property
    def settled(self) -> int:
        """How many events are accounted for by a decision."""
        return sum(self.decided.values())


@dataclass(frozen=True, slots=True)
class Decided:
    """Neighbouring events that ended alike, by the same version of the ledger, as an export has them."""

    destination: str
    row: int
    first: Offset
    last: Offset
    decision: str
    word: str
    ledger_version: int
    until_ms: int
    later: bool


@contextmanager
def opened(path: Path) -> Iterator[apsw.Connection]:
    """A store as it is at one moment, for reading alone; nothing is written, whoever uses it meanwhile."""
    with reading_store(path) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def verify(data_dir: DataDir, *, head: Offset) -> list[Verified]:
    """Check the chain of every destination that has a store; read `head` from the log first."""
    paths = sorted(data_dir.stores.glob("*.db")) if data_dir.stores.is_dir() else []
    return [_verified(path, head) for path in paths]


def _verified(path: Path, head: Offset) -> Verified:
    try:
        with opened(path) as connection:
            state = read_state(connection)
            if has_chain(connection):
                checked = check(connection, cursor=state.cursor, counts=words_of(state), now_ms=_now_ms())
            else:
                checked = Checked(since=state.cursor, first_row=1, counts=Counter(words_of(state)))
    except LogError as error:
        return Verified(path.stem, 0, {}, 0, 0, 0, 0, 0, 0, "", str(error))
    accepted, waiting = max(head, state.cursor) - state.start, max(head, state.cursor) - state.cursor
    told = _by_final(checked.counts)
    held = told.pop(Final.HELD.value, 0)
    fault = checked.fault
    if fault is None and (n := sum(told.values())) + held + waiting != accepted:
        fault = f"{accepted} events came, but {n} are decided, {held} held, and {waiting} wait"
    return Verified(
        path.stem,
        accepted,
        told,
        held,
        waiting,
        checked.since,
        checked.n_rows,
        checked.first_row,
        checked.head,
        checked.head_hash,
        fault,
    )


def missing_head(data_dir: DataDir, destination: str, number: int, hash_: str) -> str | None:
    """What is wrong with a row whose hash was noted when it was the newest complete one; None when it is the same."""
    path = data_dir.store(destination)
    if not path.exists():
        return f"{destination} has no store"
    with opened(path) as connection:
        if not has_chain(connection):
            return f"{destination} has no decisions"
        try:
            begin = before_first(connection)
        except ValueError as error:
            return str(error)
        if number < begin.number:
            # Who makes a chain anew can say of any row that its time was over; only who noted it knows when that was.
            kept = f"only those from {begin.number + 1} on; that is right if it is older than audit_ttl"
            return f"row {number} is not kept any more, {kept}"
        found = hash_at(connection, number) if number <= MAX_ROW else None
    if found is None:
        return f"row {number} is missing"
    return None if found.startswith(hash_.lower()) else f"row {number} has the hash {found[: len(hash_)]} now"


def decisions_about(path: Path, offset: Offset) -> list[Entry] | None:
    """Every decision of a destination about one event, the final one last; None when it is from before the chain.

    Raises `LogDamaged` when the row cannot be read.
    """
    if not path.exists():
        return []
    with opened(path) as connection:
        if not has_chain(connection):
            return None
        try:
            entries = entries_of(connection, offset)
            if not entries and offset <= before_first(connection).last:
                return None
        except ValueError as error:
            raise LogDamaged(f"{path}: {error}; see `sluicegate audit verify`") from error
    return entries


def growing_row(path: Path) -> int:
    """The number of the first row of a destination's chain that may still be added to."""
    with opened(path) as connection:
        if not has_chain(connection):
            return 0
        newest: int = fetch(connection, "SELECT coalesce(max(number), 0) FROM decisions")[0][0]
    return max(0, newest + 1 - N_GROWING)


def words_since(path: Path, number: int) -> dict[Offset, str]:
    """The last word on each event that was decided later than with its cursor, from the row with this number on.

    Raises `LogDamaged` when a row cannot be read.
    """
    with opened(path) as connection:
        if not has_chain(connection):
            return {}
        try:
            rows = (row for row in rows_after(connection, number - 1) if row.later)
            return {offset: word for row in rows for offset, _, word, _ in ranges(row)}
        except ValueError as error:
            raise LogDamaged(f"{path}: {error}; see `sluicegate audit verify`") from error


def export(data_dir: DataDir, destination: str) -> Iterator[Decided]:
    """Every decision of a destination that is kept, in the order of the chain; raises `LogDamaged`.

    Takes as long as whoever reads it likes, and so goes on with what is decided meanwhile.
    """
    path = data_dir.store(destination)
    with reading_store(path) as connection:
        if not has_chain(connection):
            return
        try:
            for row in rows_apart(connection, before_first(connection).number):
                for first, last, word, version in ranges(row):
                    decision = final(word).value
                    later = bool(row.later)
                    yield Decided(destination, row.number, first, last, decision, word, version, row.at_ms, later)
        except ValueError as error:
            raise LogDamaged(f"{path}: {error}; see `sluicegate audit verify`") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _by_final(counts: Mapping[str, int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for word, n in counts.items():
        found[final(word)] += n
    return {decision.value: found[decision] for decision in Final if found[decision]}

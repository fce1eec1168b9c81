"""What a store remembers of events that are not settled: how they failed, which processes died of them, and what held
calls back."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import apsw

from sluicegate.consent.standing import ERASED
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.recovery import Suspect
from sluicegate.delivery.restraint import Outage, Restraint
from sluicegate.delivery.walltime import monotonic_s, wall_ms
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import fetch


def save_retries(connection: apsw.Connection, retries: Sequence[PendingRetry]) -> None:
    """Replace what is remembered, inside the caller's transaction; what a vendor said and was erased stays so."""
    erased = erased_words_of(connection)
    connection.execute("DELETE FROM retries")
    connection.executemany(
        "INSERT INTO retries VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                retry.lane,
                number,
                array("q", retry.offsets).tobytes(),
                retry.attempts,
                round(retry.failing_s * 1000),
                wall_ms(retry.first_attempt),
                retry.first_error if erased.isdisjoint(retry.offsets) else ERASED,
            )
            for number, retry in enumerate(retries)
        ],
    )


def erased_words_of(connection: apsw.Connection) -> frozenset[Offset]:
    """The events of which it was erased how they failed first, while their destination still knew it."""
    rows = fetch(connection, "SELECT offsets FROM retries WHERE first_error = ?", (ERASED,))
    return frozenset(offset for (packed,) in rows for offset in array("q", packed))


def load_retries(connection: apsw.Connection) -> list[PendingRetry]:
    """What is remembered, each lane's in its order."""
    retries = []
    for lane, packed, attempts, failing_ms, first_ms, first_error in fetch(
        connection,
        "SELECT lane, offsets, attempts, failing_ms, first_attempt_at_ms, first_error FROM retries ORDER BY lane, part",
    ):
        offsets = array("q", packed)
        retries.append(PendingRetry(lane, offsets, attempts, failing_ms / 1000, monotonic_s(first_ms), first_error))
    return retries


def add_deaths(connection: apsw.Connection, epoch: int, calls: Sequence[Sequence[Offset]], *, alone: bool) -> None:
    """The process of this epoch died during these calls; nothing changes when that is known already."""
    connection.executemany(
        "INSERT OR IGNORE INTO deaths VALUES (?, ?, ?, ?)",
        [(offset, epoch, number, int(alone)) for number, call in enumerate(calls) for offset in call],
    )


def load_suspects(connection: apsw.Connection) -> list[Suspect]:
    """Every event that was in a call when a process died."""
    # A bare column beside min() is that of the row with the minimum (sqlite.org/lang_select.html#bareagg).
    rows = fetch(
        connection,
        "SELECT log_offset, count(*), sum(alone), min(epoch), call FROM deaths GROUP BY log_offset ORDER BY log_offset",
    )
    return [Suspect(offset, deaths, alone, (epoch, call)) for offset, deaths, alone, epoch, call in rows]


def save_restraint(connection: apsw.Connection, restraint: Restraint) -> None:
    """Replace what is remembered of the configuration that runs, inside the caller's transaction."""
    outage, tokens = restraint.outage, restraint.tokens
    connection.execute(
        "UPDATE restraint SET at_ms = ?, open_until_ms = ?, open_ms = ?, general = ?, not_before_ms = ?, tokens = ?",
        (
            wall_ms(restraint.at),
            None if outage is None else wall_ms(outage.until),
            None if outage is None else round(outage.open_s * 1000),
            None if outage is None else outage.general,
            wall_ms(restraint.not_before) if restraint.not_before > restraint.at else None,
            tokens if math.isfinite(tokens) else None,
        ),
    )


def take_restraint(connection: apsw.Connection, config_hash: str) -> Restraint | None:
    """What is remembered of this configuration; what is of another is forgotten, inside the caller's transaction."""
    rows = fetch(
        connection,
        "SELECT at_ms, open_until_ms, open_ms, general, not_before_ms, tokens FROM restraint WHERE config_hash = ?",
        (config_hash,),
    )
    if not rows:
        connection.execute("DELETE FROM restraint")
        connection.execute("INSERT INTO restraint (config_hash) VALUES (?)", (config_hash,))
        return None
    at_ms, until_ms, open_ms, general, not_before_ms, tokens = rows[0]
    if at_ms is None:
        return None
    return Restraint(
        monotonic_s(at_ms),
        None if until_ms is None else Outage(monotonic_s(until_ms), open_ms / 1000, bool(general)),
        -math.inf if not_before_ms is None else monotonic_s(not_before_ms),
        math.inf if tokens is None else tokens,
    )

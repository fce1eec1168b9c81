"""How long dead letters keep their events, how much room they may take, and how long decisions are kept."""

from __future__ import annotations

from pathlib import Path

from sluicegate.accounts import store_schema
from sluicegate.audit.trim import forget_decisions
from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogDamaged
from sluicegate.sqlite import connect, errors_of

MAX_DROPPED = 100_000
"""Dropped letters of a destination of which id and reason are kept; they take about 50 MB, 150 at most."""


def trim_letters(path: Path, destination: DestinationConfig, *, now_ms: int) -> int:
    """Drop the letters of a store that are older or take more room than the destination keeps; returns how many.

    They lose event and response and stay counted as dead; of the oldest beyond `MAX_DROPPED` nothing else is kept.
    """
    store = DestinationStore.open(path, start=0)
    try:
        n_dropped = store.letters.trim(
            entered_before_ms=now_ms - round(destination.dead_letter_age_s * 1000),
            max_bytes=destination.dead_letter_bytes,
        )
        store.letters.forget(keep=MAX_DROPPED)
        return n_dropped
    finally:
        store.close()


def trim_decisions(path: Path, ttl_s: float, *, now_ms: int) -> int:
    """Remove the decisions of a store that are older than `ttl_s`; returns how many rows of its chain went.

    Raises `LogDamaged` when the chain is broken where it is to be shortened.
    """
    connection = connect(path, store_schema(0), synchronous="NORMAL", create=False)
    try:
        with errors_of(path):
            return forget_decisions(connection, before_ms=now_ms - round(ttl_s * 1000))
    except ValueError as error:
        raise LogDamaged(f"{path}: the decisions are damaged: {error}; see `sluicegate audit verify`") from error
    finally:
        connection.close()

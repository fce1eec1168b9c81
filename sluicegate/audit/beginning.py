"""What stood before the first row of a chain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import apsw

from sluicegate.sqlite import fetch


class Before(NamedTuple):
    """What stood before the first row: the cursor, the newest row's number and hash, and the counts by word."""

    last: int
    number: int
    hash: bytes
    counts: Mapping[str, int]


def before_first(connection: apsw.Connection) -> Before:
    """What stood before the first row; raises `ValueError` when that is not there, or cannot be read."""
    rows = fetch(connection, "SELECT last, number, hash, counts FROM decisions_before")
    if len(rows) != 1:
        raise ValueError("the beginning of the chain is missing")
    last, number, hash_, counts = rows[0]
    try:
        kept = {word: int(n) for word, n in json.loads(counts).items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("the beginning of the chain cannot be read") from error
    return Before(last, number, hash_, kept)


def set_before(connection: apsw.Connection, begin: Before) -> None:
    """Let a chain begin so; inside the caller's transaction."""
    kept = json.dumps({word: n for word, n in begin.counts.items() if n})
    connection.execute(
        "UPDATE decisions_before SET (last, number, hash, counts) = (?, ?, ?, ?)",
        (begin.last, begin.number, begin.hash, kept),
    )

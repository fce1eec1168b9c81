"""Removing old decisions: the rows go from the front, and what they came to stays as the chain's new beginning."""

from __future__ import annotations

from collections import Counter

import apsw

from sluicegate.audit.beginning import Before, before_first, set_before
from sluicegate.audit.chain import counts_of
from sluicegate.audit.reading import rows_after
from sluicegate.sqlite import fetch_one, transaction

CHUNK = 500
"""Rows removed in one transaction, so that deliveries can be committed in between."""


def forget_decisions(connection: apsw.Connection, *, before_ms: int, max_chunks: int = 1_000_000) -> int:
    """Remove the rows that were last added to before a time; returns how many went.

    A row that cannot be read stays, and all after it, so that a check still finds it. So does the newest one: only the
    hash of a row that is kept covers the counts before it.
    """
    gone = 0
    for _ in range(max_chunks):
        n_rows = _forget_some(connection, before_ms)
        gone += n_rows
        if n_rows < CHUNK:
            break
    return gone


def _forget_some(connection: apsw.Connection, before_ms: int) -> int:
    with transaction(connection):
        begin = before_first(connection)
        (newest,) = fetch_one(connection, "SELECT max(number) FROM decisions")
        counts, last, number, hash_, n_rows = Counter(begin.counts), begin.last, begin.number, begin.hash, 0
        for row in rows_after(connection, begin.number):
            broken = row.number != number + 1 or row.hashed(hash_).hash != row.hash
            if broken or row.at_ms >= before_ms or n_rows == CHUNK or row.number == newest:
                break
            counts.update(counts_of(row))
            last = last if row.later else row.last
            number, hash_ = row.number, row.hash
            n_rows += 1
        if n_rows:
            connection.execute("DELETE FROM decisions WHERE number <= ?", (number,))
            set_before(connection, Before(last, number, hash_, counts))
    return n_rows

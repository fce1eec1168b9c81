"""The tables of the event log's SQLite file.

    rows(first, count, received_at_ms, n_bytes, seal, payload_crc, meta, payload)      one row per group commit
    trimmed(last)                                                      the newest offset that retention removed
    seen_ids(last, newest_ms, hashes)                                  message ids of the last day (`eventlog.seen`)

The order of columns matters: SQLite reads a row's overflow pages only as far as the last column that is asked for,
so readers of `meta` never touch `payload`. A `payload` of fewer than `n_bytes` bytes is compressed (`compression`).
Only `trim` writes `trimmed`; an append writes one row and nothing else.
"""

from __future__ import annotations

from sluicegate.eventlog.seen import SEEN_SQL
from sluicegate.sqlite import Schema

SCHEMA = Schema(
    what="event log",
    application_id=0x53476C67,  # "SGlg"
    version=1,
    sql=f"""
    CREATE TABLE rows (
        first INTEGER PRIMARY KEY, count INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
        seal INTEGER NOT NULL, payload_crc INTEGER NOT NULL, meta BLOB NOT NULL, payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE trimmed (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL) STRICT;
    INSERT INTO trimmed VALUES (1, 0);
    {SEEN_SQL}
    """,
    page_size=8192,  # appends of 50 to 400 KB cost a sixth less CPU than with 4096 (benchmarks/log_commit.py)
    shrinks=True,
)

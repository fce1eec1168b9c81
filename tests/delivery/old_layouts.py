"""Stores as earlier versions have left them: what later ones have added is taken away again."""

from __future__ import annotations

import apsw

_ADDED = (
    (6, "DROP TABLE beyond; DROP TABLE beyond_dead;"),
    (5, "ALTER TABLE held DROP COLUMN died; ALTER TABLE state DROP COLUMN forgotten;"),
    (4, "".join(f"ALTER TABLE dead_letters DROP COLUMN {name};" for name in ("config_hash", "ledger_version"))),
    (3, "DROP TABLE restraint;"),
    (
        2,
        "DROP TABLE decisions; DROP TABLE decisions_before; DROP TABLE held;"
        + "".join(
            f"ALTER TABLE state DROP COLUMN {name};" for name in ("held", "considered", "held_under", "redacted")
        ),
    ),
)


def take_back(connection: apsw.Connection, version: int) -> None:
    """Give a store of the present layout that of an older version."""
    connection.execute("".join(sql for older, sql in _ADDED if older >= version))
    connection.pragma("user_version", version)

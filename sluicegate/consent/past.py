"""What the ledger's history tells of what came after an event: who it may concern, and whether anybody said no."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import apsw

from sluicegate.consent.ledger import MAX_OWNERS
from sluicegate.consent.record import MAX_MEMBERS, Names, decode_change, decode_record, earlier
from sluicegate.consent.slots import Slots, is_denial
from sluicegate.sqlite import fetch

_LOOK = "SELECT last, record FROM subjects WHERE key = ?"
_CHAIN = "SELECT subject, previous, recorded_at_ms, evidence, what FROM history WHERE version = ?"

MAX_BEFORE = 100
"""Changes from before a time, one after the other, that show that there are no later ones: a clock may have been
behind for some."""


class Kinds(NamedTuple):
    """What counts besides decisions and withdrawals."""

    seen: bool
    gpc: bool


def with_members(db: apsw.Connection, names: Names, keys: Collection[bytes]) -> frozenset[bytes] | None:
    """These keys and those of the ids that belong to them, over as many steps as owners are looked for.

    None when there may be more than are listed.
    """
    found, fresh = set(keys), set(keys)
    for _ in range(MAX_OWNERS):
        members: set[bytes] = set()
        for key in fresh:
            for _, record in fetch(db, _LOOK, (key,)):
                listed = decode_record(record, names).members
                if len(listed) >= MAX_MEMBERS:
                    return None
                members.update(listed)
        fresh = members - found
        if not fresh:
            break
        found |= fresh
    return frozenset(found)


def newest_denials(
    db: apsw.Connection, names: Names, key: bytes, purposes: Collection[str], kinds: Kinds, *, since_ms: int
) -> dict[str, int]:
    """When the newest denial of each of these purposes was recorded for one key (Unix ms), as far as there is one.

    Those from before `since_ms` are not looked for: an id that many visitors share has a long history.
    """
    newest: dict[str, int] = {}
    found = fetch(db, _LOOK, (key,))
    version, n_before = found[0][0] if found else 0, 0
    while version and len(newest) < len(purposes) and n_before < MAX_BEFORE:
        rows = fetch(db, _CHAIN, (version,))
        if not rows or rows[0][0] != key:  # forgotten
            break
        _, previous, recorded_at_ms, evidence, what = rows[0]
        version = earlier(previous, version)
        n_before = n_before + 1 if recorded_at_ms < since_ms else 0
        _, _, said = decode_change(evidence, what, names)
        for purpose in purposes:
            if purpose not in newest and purpose in said and any(map(is_denial, marks_of(said[purpose], kinds))):
                newest[purpose] = recorded_at_ms
    return newest


def marks_of(said: Slots, kinds: Kinds) -> tuple[int, ...]:
    """The marks that count, 0 for those that do not."""
    return said.admin, said.decided, said.seen if kinds.seen else 0, said.gpc if kinds.gpc else 0

"""What the delivery core settles, in the words of the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from sluicegate.accounts import DAMAGED as DAMAGED_REASON
from sluicegate.audit.chain import Decisions
from sluicegate.audit.column import add_version, add_versions
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD, REDACTED, denied, expired
from sluicegate.delivery import settlement
from sluicegate.delivery.settlement import Progress

WORDS = {
    settlement.DELIVERED: DELIVERED,
    settlement.DEAD: DEAD,
    settlement.EXPIRED: EXPIRED,
    settlement.DAMAGED: expired(DAMAGED_REASON),
    settlement.HELD: HELD,
    settlement.REDACTED: REDACTED,
}
"""What the states of a settlement that stand for no reason of denial come to."""


def decisions_of(progress: Progress, reasons: Sequence[str]) -> Decisions:
    """How the events ended that a cursor passes; `reasons` are those of the settlement, in the order of their codes."""
    words = WORDS | {settlement.FIRST_REASON + at: denied(reason) for at, reason in enumerate(reasons)}
    decisions = Decisions()
    decisions.column.add_codes(progress.codes, words)
    add_versions(decisions.versions, progress.versions)
    return decisions


def delivered_words(numbers: Iterable[int], redacted: Set[int]) -> dict[int, str]:
    """The words of delivered events, by the numbers that stand for them; some went redacted."""
    return {number: REDACTED if number in redacted else DELIVERED for number in numbers}


def in_order(
    delivered: int,
    expired_: int,
    damaged: int,
    denied_by: Mapping[str, int],
    *,
    held: int = 0,
    redacted: int = 0,
    dead: Sequence[int] = (),
    first: int = 0,
) -> Decisions:
    """Decisions of events that ended one kind after the other; those that are dead lie where they are, from `first`.

    `redacted` of the `delivered` went redacted.
    """
    others = [(DELIVERED, delivered - redacted), (REDACTED, redacted)]
    others += [(EXPIRED, expired_), (expired(DAMAGED_REASON), damaged), (HELD, held)]
    others += [(denied(reason), n) for reason, n in denied_by.items()]
    others = [(word, n) for word, n in others if n]
    if dead:
        words = [word for word, n in others for _ in range(n)]
        for offset in sorted(dead):
            words.insert(min(max(offset - first, 0), len(words)), DEAD)
        others = [(word, 1) for word in words]
    decisions = Decisions()
    for word, n in others:
        decisions.column.add_run(word, n)
    add_version(decisions.versions, len(decisions), 0)
    return decisions

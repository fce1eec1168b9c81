"""Events of people who are suppressed: left out before anything of them is stored."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sluicegate.acceptance.head import LooseHead
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.suppressed import SuppressedCount
from sluicegate.event import EventBatch, EventType

_HEAD = msgspec.json.Decoder(LooseHead)


class Suppressor:
    """Leaves out what the ledger says not to take; belongs to one thread.

    While nobody is suppressed it looks at no event. `refresh` makes the ledger take note of what others have written,
    if need be.
    """

    def __init__(
        self, ledger: LedgerReader, *, count: SuppressedCount, refresh: Callable[[], None] | None = None
    ) -> None:
        self._ledger = ledger
        self._count = count
        self._refresh = refresh or ledger.refresh

    def taken(self, batch: EventBatch) -> EventBatch:
        """The batch without the events of suppressed people; itself when there are none.

        Raises `ConsentUnreadable`; then nobody knows whose events are to be left out.
        """
        self._refresh()
        if not self._ledger.has_suppressed:
            return batch
        whose = list(zip(batch.user_ids, batch.anonymous_ids, strict=True))
        takes = [not who.is_suppressed for who in self._ledger.of_many(whose)]
        for place, combo in enumerate(batch.combos):
            if combo.type == EventType.ALIAS and takes[place]:
                takes[place] = self._takes_alias(batch.events[place])
        n_left_out = takes.count(False)
        if not n_left_out:
            return batch
        self._count.add(n_left_out)
        return batch.select(takes)

    def _takes_alias(self, raw: bytes) -> bool:
        """Whether the id that an alias replaces, which may be of either kind, is nobody's who is suppressed."""
        previous = _HEAD.decode(raw).previousId
        if previous is None or previous == "":
            return True
        id_ = str(previous)
        return not any(who.is_suppressed for who in self._ledger.of_many([(id_, None), (None, id_)]))

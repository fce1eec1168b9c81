"""`[destinations.ID.map]` at work: events are filtered and changed on their way to `deliver`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sluicegate.delivery.result import Result, checked
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import Rejected
from sluicegate.mapping.changes import Changes

FILTERED = "filtered"
"""The reason for which events that `only` and `skip` leave out are counted as denied."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Mapped:
    """Calls `deliver` with changed events, and tells of its outcome in the indices of the unchanged batch."""

    def __init__(self, deliver: Callable[[Batch], Result], changes: Changes) -> None:
        self._deliver = deliver
        self._changes = changes

    def __call__(self, batch: Batch) -> Outcome | None:
        """Deliver what is not filtered; raises what `deliver` raises."""
        kept, raws = self._changed(batch)
        kept_ones = set(kept)
        skipped = {index: FILTERED for index in range(len(batch)) if index not in kept_ones}
        if not kept:
            return Outcome(skipped=skipped)
        offsets, message_ids = batch.offsets, batch.message_ids
        changed = Batch([offsets[i] for i in kept], [message_ids[i] for i in kept], raws, batch.attempt)
        outcome = self._outcome(changed)
        if outcome is None and not skipped:
            return None
        return (outcome or Outcome()).moved(kept, skipped=skipped)

    def _outcome(self, batch: Batch) -> Outcome | None:
        try:
            result = checked(self._deliver(batch), len(batch))
        except Rejected as error:
            result = checked(error, len(batch))
        if isinstance(result, BaseException):
            raise result
        return result

    def _changed(self, batch: Batch) -> tuple[list[int], list[bytes]]:
        kept, raws = [], []
        for index, raw in enumerate(batch.raws):
            event = _decode(raw)
            if self._changes.wants(event):
                self._changes.apply(event)
                kept.append(index)
                raws.append(_encode(event))
        return kept, raws

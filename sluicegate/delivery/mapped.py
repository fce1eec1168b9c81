"""`[destinations.ID.map]` at work: events are filtered and changed on their way to `deliver`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
    """Calls `deliver` with changed events, and tells of its outcome in the indices of the unchanged batch.

    Changes can make events larger. One that has more than `max_bytes` then is rejected by itself; of several that are
    too much together the first are delivered, and the others go again at once.
    """

    def __init__(self, deliver: Callable[[Batch], Result], changes: Changes, *, max_bytes: int) -> None:
        self._deliver = deliver
        self._changes = changes
        self._max_bytes = max_bytes

    def __call__(self, batch: Batch) -> Outcome | None:
        """Deliver what is not filtered; raises what `deliver` raises."""
        changed = self._changed(batch)
        wanted = set(changed)
        skipped = {index: FILTERED for index in range(len(batch)) if index not in wanted}
        too_large = {index: self._too_large(raw) for index, raw in changed.items() if len(raw) > self._max_bytes}
        fitting, rest = self._fitting({index: raw for index, raw in changed.items() if index not in too_large})
        outcome = self._outcome(self._batch(batch, fitting)) if fitting else None
        if outcome is None and not (skipped or too_large or rest):
            return None
        found = (outcome or Outcome()).moved(list(fitting), skipped=skipped)
        return replace(found, rejected={**found.rejected, **too_large}, again=found.again | rest)

    def _too_large(self, raw: bytes) -> str:
        return f"larger after the changes of map, {len(raw)} bytes, than the {self._max_bytes} bytes of a call"

    def _fitting(self, changed: dict[int, bytes]) -> tuple[dict[int, bytes], frozenset[int]]:
        """The first events that fit into one call, and the indices of the others."""
        n_bytes = 0
        for place, raw in enumerate(changed.values()):
            n_bytes += len(raw) + 1
            if place and n_bytes > self._max_bytes:
                indices = list(changed)
                return {index: changed[index] for index in indices[:place]}, frozenset(indices[place:])
        return changed, frozenset()

    def _batch(self, batch: Batch, changed: dict[int, bytes]) -> Batch:
        offsets, message_ids = batch.offsets, batch.message_ids
        ids = [message_ids[index] for index in changed]
        return Batch([offsets[index] for index in changed], ids, list(changed.values()), batch.attempt)

    def _outcome(self, batch: Batch) -> Outcome | None:
        try:
            returned = self._deliver(batch)
            outcome = returned if isinstance(returned, Outcome) else None  # as where nothing is mapped
            result = checked(outcome, len(batch))
        except Rejected as error:
            result = checked(error, len(batch))
        if isinstance(result, BaseException):
            raise result
        return result

    def _changed(self, batch: Batch) -> dict[int, bytes]:
        """The events that are wanted, changed, by index."""
        changed = {}
        for index, raw in enumerate(batch.raws):
            event = _decode(raw)
            if self._changes.wants(event):
                self._changes.apply(event)
                changed[index] = _encode(event)
        return changed

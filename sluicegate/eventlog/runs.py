"""Events on their way from the log to a destination, as they lie in the rows: taken apart only where they must be.

A **block** is a payload with its columns, mostly one row of the log. A **run** is some events of one block, and
`Events` are runs in order. Events that lie side by side are cut out and sent without a look at each of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, chain, compress, groupby, pairwise
from operator import itemgetter
from typing import Protocol, TypeVar

from sluicegate.event import About, bounds_of
from sluicegate.eventlog.base import Offset, Row

T = TypeVar("T")

Indices = range | list[int]
"""Positions in a block, which ascend; a range means that its events lie side by side."""

MAX_WASTE = 4
"""How many times the bytes of waiting events may be kept in memory, for not copying them."""

_COMMA, _LINE_END = b",", b"\n"


class Ids(Protocol):
    """Message ids and subjects of a block; the meta of a row is one."""

    @property
    def message_ids(self) -> list[str]:
        """The vendors' deduplication keys."""

    @property
    def subjects(self) -> list[str]:
        """What per-subject order is kept by."""

    @property
    def about(self) -> About | None:
        """What consent is decided by; None where nobody asks for it."""


class PlainIds:
    """Message ids, subjects and what consent is decided by, which are at hand."""

    __slots__ = ("about", "message_ids", "subjects")

    def __init__(self, message_ids: list[str], subjects: list[str], about: About | None = None) -> None:
        self.message_ids = message_ids
        self.subjects = subjects
        self.about = about


class Block:
    """The events of one payload: event i is `payload[bounds[i] : bounds[i + 1] - 1]`."""

    __slots__ = ("arrived_ms", "bounds", "ids", "log_offsets", "offsets", "payload", "redact")

    def __init__(
        self,
        offsets: Sequence[Offset],
        ids: Ids,
        payload: bytes,
        bounds: array[int],
        *,
        arrived_ms: int = 0,
        log_offsets: Sequence[Offset] | None = None,
        redact: bool = False,
    ) -> None:
        self.offsets = offsets
        self.log_offsets = offsets if log_offsets is None else log_offsets
        self.ids = ids
        self.payload = payload
        self.bounds = bounds
        self.arrived_ms = arrived_ms
        """When they were received (Unix ms); 0 where nobody asks for it."""
        self.redact = redact
        """Whether they may only go out without the person in them."""


class Run:
    """Events of one block, in its order."""

    __slots__ = ("_n_bytes", "block", "indices", "n_events")

    def __init__(self, block: Block, indices: Indices) -> None:
        self.block = block
        self.indices = indices
        self.n_events = len(indices)
        self._n_bytes = -1

    @classmethod
    def of_row(cls, row: Row, payload: bytes) -> Run:
        """All events of a row of the log."""
        offsets = range(row.first, row.last + 1)
        return cls(Block(offsets, row.meta, payload, row.meta.bounds, arrived_ms=row.received_at_ms), range(row.count))

    @classmethod
    def of(
        cls,
        offsets: Sequence[int],
        ids: Ids,
        raws: Sequence[bytes],
        *,
        arrived_ms: int = 0,
        log_offsets: Sequence[Offset] | None = None,
        redact: bool = False,
    ) -> Run:
        """Events that are at hand one by one; `log_offsets` where `offsets` are something else than that."""
        payload, bounds = _COMMA.join(raws), bounds_of(raws)
        block = Block(offsets, ids, payload, bounds, arrived_ms=arrived_ms, log_offsets=log_offsets, redact=redact)
        return cls(block, range(len(raws)))

    @property
    def redact(self) -> bool:
        """Whether they may only go out without the person in them."""
        return self.block.redact

    @property
    def n_bytes(self) -> int:
        """Bytes of the events, without what stands between them."""
        if self._n_bytes < 0:
            bounds, indices = self.block.bounds, self.indices
            if isinstance(indices, range):
                self._n_bytes = bounds[indices.stop] - bounds[indices.start] - self.n_events
            else:
                self._n_bytes = sum([bounds[i + 1] - bounds[i] for i in indices]) - self.n_events
        return self._n_bytes

    @property
    def offsets(self) -> Sequence[Offset]:
        """The events' places in the log."""
        return self._of(self.block.offsets)

    @property
    def log_offsets(self) -> Sequence[Offset]:
        """The same also of dead letters, which have their own ids for offsets."""
        return self._of(self.block.log_offsets)

    @property
    def message_ids(self) -> Sequence[str]:
        """The vendors' deduplication keys."""
        return self._of(self.block.ids.message_ids)

    @property
    def subjects(self) -> Sequence[str]:
        """What per-subject order is kept by."""
        return self._of(self.block.ids.subjects)

    @property
    def about(self) -> About | None:
        """What consent is decided by."""
        about, indices = self.block.ids.about, self.indices
        if about is None or (isinstance(indices, range) and len(indices) == len(about.codes)):
            return about
        of = self._of
        codes = bytes(of(about.codes))
        return About(of(about.user_ids), of(about.anonymous_ids), of(about.times_ms), codes, about.combos)

    @property
    def raws(self) -> list[bytes]:
        """The JSON of each event."""
        payload, bounds = self.block.payload, self.block.bounds
        if isinstance(self.indices, range):
            bounds = bounds[self.indices.start : self.indices.stop + 1]
            return [payload[start : end - 1] for start, end in pairwise(bounds)]
        return [payload[bounds[i] : bounds[i + 1] - 1] for i in self.indices]

    def slice(self, start: int, stop: int) -> Run:
        """Events from `start` to before `stop`."""
        return self if start <= 0 and stop >= self.n_events else Run(self.block, self.indices[start:stop])

    def select(self, chosen: Iterable[object]) -> Run:
        """The events for which `chosen` has something true."""
        indices = list(compress(self.indices, chosen))
        if indices and indices[-1] - indices[0] + 1 == len(indices):
            return Run(self.block, range(indices[0], indices[-1] + 1))
        return Run(self.block, indices)

    def compact(self) -> Run:
        """The same events; in a block of their own when they would keep one alive of `MAX_WASTE` times their bytes."""
        if self.n_bytes * MAX_WASTE >= len(self.block.payload):
            return self
        ids = PlainIds(list(self.message_ids), list(self.subjects), self.about)
        arrived_ms, log_offsets = self.block.arrived_ms, list(self.log_offsets)
        return Run.of(
            list(self.offsets), ids, self.raws, arrived_ms=arrived_ms, log_offsets=log_offsets, redact=self.redact
        )

    def marked(self, chosen: bytes | bytearray) -> Iterator[Run]:
        """The same events in order, where those for which `chosen` has a byte that is not 0 are to be redacted."""
        block = self.block
        marked = Block(
            block.offsets,
            block.ids,
            block.payload,
            block.bounds,
            arrived_ms=block.arrived_ms,
            log_offsets=block.log_offsets,
            redact=True,
        )
        at = 0
        for is_chosen, group in groupby(map(bool, chosen)):
            n_events = len(list(group))
            yield Run(marked if is_chosen else block, self.indices[at : at + n_events])
            at += n_events

    def n_fitting(self, max_bytes: int) -> int:
        """How many of the first events have so many bytes together."""
        if self.n_bytes <= max_bytes:
            return self.n_events
        bounds = self.block.bounds
        sizes = accumulate([bounds[i + 1] - bounds[i] - 1 for i in self.indices])
        return bisect_right(list(sizes), max_bytes)

    def raw(self, index: int) -> bytes:
        """The JSON of one event."""
        at, bounds = self.indices[index], self.block.bounds
        return self.block.payload[bounds[at] : bounds[at + 1] - 1]

    def joined(self) -> bytes:
        """The events with a comma between each two."""
        if isinstance(self.indices, range):
            bounds = self.block.bounds
            return self.block.payload[bounds[self.indices.start] : bounds[self.indices.stop] - 1]
        return _COMMA.join(self.raws)

    def lines(self) -> bytes | bytearray:
        """The events with a line end between each two."""
        if not isinstance(self.indices, range):
            return _LINE_END.join(self.raws)
        joined, bounds = bytearray(self.joined()), self.block.bounds
        before = bounds[self.indices.start] + 1
        for bound in bounds[self.indices.start + 1 : self.indices.stop]:
            joined[bound - before] = 10
        return joined

    def _of(self, column: Sequence[T]) -> Sequence[T]:
        indices = self.indices
        if isinstance(indices, range):
            return column[indices.start : indices.stop]
        if len(indices) < 2:
            return [column[i] for i in indices]
        picked: Sequence[T] = itemgetter(*indices)(column)
        return picked


class Events:
    """Runs of events, in order."""

    __slots__ = ("_n_events", "n_bytes", "runs")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self.runs = list(runs)
        self._n_events = sum([run.n_events for run in self.runs])
        self.n_bytes = sum([run.n_bytes for run in self.runs])

    @classmethod
    def of(
        cls, offsets: Sequence[int], message_ids: Sequence[str], subjects: Sequence[str], raws: Sequence[bytes]
    ) -> Events:
        """Events from columns of equal length."""
        return cls([Run.of(list(offsets), PlainIds(list(message_ids), list(subjects)), raws)] if raws else ())

    def __len__(self) -> int:
        return self._n_events

    @property
    def offsets(self) -> list[Offset]:
        """The events' places in the log."""
        return list(chain.from_iterable([run.offsets for run in self.runs]))

    @property
    def message_ids(self) -> list[str]:
        """The vendors' deduplication keys."""
        return list(chain.from_iterable([run.message_ids for run in self.runs]))

    @property
    def subjects(self) -> list[str]:
        """What per-subject order is kept by."""
        return list(chain.from_iterable([run.subjects for run in self.runs]))

    @property
    def raws(self) -> list[bytes]:
        """The JSON of each event."""
        return list(chain.from_iterable([run.raws for run in self.runs]))

    def slice(self, start: int, stop: int) -> Events:
        """Events from `start` to before `stop`."""
        return Events(run.slice(max(0, start - at), stop - at) for at, run in self._placed(start, stop))

    def select(self, chosen: bytes | bytearray) -> Events:
        """The events for which `chosen` has a byte that is not 0."""
        selected = (run.select(chosen[at : at + run.n_events]) for at, run in self._placed(0, len(self)))
        return Events(run for run in selected if run.n_events)

    def marked(self, chosen: bytes | bytearray) -> Events:
        """The same events, where those for which `chosen` has a byte that is not 0 are to be redacted."""
        placed = self._placed(0, len(self))
        return Events(part for at, run in placed for part in run.marked(chosen[at : at + run.n_events]))

    def compact(self) -> Events:
        """The same events, in blocks of their own where they are few of theirs."""
        return Events(run.compact() for run in self.runs)

    def joined(self) -> bytes:
        """The events with a comma between each two: the inside of a JSON array."""
        return _COMMA.join([run.joined() for run in self.runs])  # a single whole row is not even copied

    def lines(self) -> bytes:
        """The events one a line, each with its line end; line breaks between an event's tokens become blanks."""
        lines = _LINE_END.join([*[run.lines() for run in self.runs], b""])
        if lines.count(_LINE_END) != len(self):
            return b"".join([raw.replace(_LINE_END, b" ") + _LINE_END for raw in self.raws])
        return lines

    def fingerprint(self) -> bytes:
        """32 bytes: the same for the same events, however they are cut into runs, and else different.

        They tell the offsets of all events, their size together, and the first and the last event itself, which differ
        between logs that both count from 1.
        """
        first, last = self.runs[0], self.runs[-1]
        start, end = first.offsets[0], last.offsets[-1]
        digest = sha256(b"%d %d %d " % (start, end, self.n_bytes))
        digest.update(first.raw(0))
        digest.update(last.raw(-1))
        if end - start + 1 != len(self):
            digest.update(array("q", self.offsets).tobytes())
        return digest.digest()

    def _placed(self, start: int, stop: int) -> Iterator[tuple[int, Run]]:
        """The runs that have events of this stretch, each with its place."""
        at = 0
        for run in self.runs:
            if at >= stop:
                return
            if at + run.n_events > start:
                yield at, run
            at += run.n_events

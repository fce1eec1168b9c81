"""The contract of an event log, and what readers get from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.errors import LogError
from sluicegate.event import EventBatch, Meta, split_payload

Offset = int
"""The number of an event: dense, from 1; 0 is "before the first"."""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored batch without its event bytes: events `first` to `last`."""

    first: Offset
    count: int
    received_at_ms: int
    meta: Meta
    n_bytes: int
    small: tuple[int, bytes] | None = None
    """A log's own: what it has read of a small payload already, to save `EventLog.payload` a look-up."""
    damage: str | None = None
    """Why these events cannot be read any more; the row then has no meta, and `count` and the offsets are right."""

    @property
    def last(self) -> Offset:
        """Offset of the row's last event."""
        return self.first + self.count - 1


def damaged_row(first: Offset, last: Offset, *, why: str, received_at_ms: int) -> Row:
    """What stands for events that cannot be read; `received_at_ms` is that of the next ones that can."""
    return Row(first, last - first + 1, received_at_ms, _NO_META, 0, damage=why)


_NO_META = Meta((), b"", array("I", [0]), ())


class RowGone(LogError):
    """Retention removed a row, or events of it were erased, after it was read; reading again shows what is left."""


class EventLog(ABC):
    """Durable, ordered batches of events, addressed by offset.

    One instance belongs to one thread. Several processes may append and read at the same time.
    """

    n_left_out = 0
    """Events that the last `append` of this instance left out, because the log had them already."""

    @abstractmethod
    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        """Store the batches in order in one transaction; return the offset of each one's first event.

        A log may recognise events that it has already and leave them out: the offset is then that of the first event
        that was new, and 0 when the batch had none.

        When it returns, they are on disk (fsync). Raises `LogUnavailable` when nothing was stored and trying
        again later may work (disk full, locked). A failed fsync is fatal and is not such an error: it raises
        `LogDamaged` and the process must end.
        """

    @abstractmethod
    def head(self) -> Offset:
        """Offset of the newest event, 0 in a log that never had one."""

    @abstractmethod
    def tail(self) -> Offset:
        """Offset of the oldest event that is still stored; head() + 1 when there is none."""

    @abstractmethod
    def read(self, after: Offset, *, max_events: int, max_bytes: int) -> list[Row]:
        """Rows with events after this offset, oldest first, at least one if there is any.

        The first row may begin before `after`: rows are not cut. Stops before the row that would exceed either
        limit. A first row that begins later than `after + 1` means that the events between are gone (expired).
        From there on the rows follow each other without a gap: what cannot be read is a row with `damage`.
        """

    @abstractmethod
    def payload(self, row: Row) -> bytes:
        """The event bytes of a row, all `row.count` of them, joined by commas (`sluicegate.event` has the layout).

        Raises `RowGone` when retention was faster, unless the payload is small and was read with the row, and
        `RowDamaged` when the bytes are not those that were stored.
        """

    def events(self, row: Row) -> list[bytes]:
        """The event bytes of a row one by one; raises like `payload`."""
        return split_payload(self.payload(row), row.meta.bounds)

    def received_at_ms(self, after: Offset) -> int | None:
        """When the first event after this offset arrived (Unix ms), None when there is none."""
        rows = self.read(after, max_events=1, max_bytes=1)
        return rows[0].received_at_ms if rows else None

    @abstractmethod
    def trim(self, before: Offset) -> int:
        """Forget whole rows whose events all lie before this offset; return how many events went."""

    @abstractmethod
    def used_bytes(self) -> int:
        """About how many bytes the stored events take."""

    def shrink(self, *, entirely: bool = False) -> int:
        """Give space back that trimming has freed, if it is much or `entirely`; return how many bytes."""
        return 0

    @property
    def needs_maintenance(self) -> bool:
        """Whether housekeeping is due because of what was appended through this instance."""
        return False

    def finish_maintenance(self) -> None:  # noqa: B027  (a log may need none)
        """What is left to do after another instance has maintained the log meanwhile: little, and quickly done."""

    def maintain(self) -> None:  # noqa: B027  (a log may need none)
        """Housekeeping that may take milliseconds; called between appends, by any instance of the same log."""

    @abstractmethod
    def close(self) -> None:
        """Release files; the log can be opened again."""

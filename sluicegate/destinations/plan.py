"""What is to be sent for a batch, before anything is sent: requests, and events that are not in any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sluicegate.destinations.base import Batch

JSON = "application/json"
FOREIGN = "no counterpart at the vendor"
"""The reason for which events are skipped whose kind a vendor knows nothing like."""
TOO_OLD = "too_old"
"""The reason for which events are skipped that are older than a vendor takes; a replay would come later still."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: address with its query, body, and which events of the batch it carries.

    `indices` has one entry per record in the body, in its order; an event may make several records.
    """

    url: str
    body: bytes
    indices: Sequence[int]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides Host, Content-Length, Content-Type, Content-Encoding and User-Agent."""
    gzip: bool = False
    """Whether the body is compressed on its way."""


@dataclass(slots=True)
class Plan:
    """Requests in the order in which they go out, and the events that none of them carries, by index."""

    requests: list[Request] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    """Broken rules of the vendor."""
    skipped: dict[int, str] = field(default_factory=dict)


@runtime_checkable
class Plans(Protocol):
    """A destination that says what it would send; `sluicegate simulate` shows it."""

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """What `deliver` would send for a batch at a time in Unix ms; sends nothing."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event of a batch with its index in it."""

    index: int
    event: dict[str, Any]
    message_id: str


def packs(
    records: Iterable[tuple[int, bytes]], *, max_records: int, max_bytes: int
) -> Iterator[tuple[list[int], bytes]]:
    """Records as JSON arrays within a vendor's limits, each with the indices of its records; one record always fits."""
    indices: list[int] = []
    packed: list[bytes] = []
    n_bytes = 2
    for index, record in records:
        if packed and (len(packed) == max_records or n_bytes + len(record) > max_bytes):
            yield indices, b"[" + b",".join(packed) + b"]"
            indices, packed, n_bytes = [], [], 2
        indices.append(index)
        packed.append(record)
        n_bytes += len(record) + 1
    if packed:
        yield indices, b"[" + b",".join(packed) + b"]"


class Broken(ValueError):
    """An event breaks a rule of the vendor, who would refuse or drop it."""


class Foreign(Exception):
    """An event is of a kind that the vendor has nothing like."""


class TooOld(Exception):
    """An event is older than the vendor takes."""

"""Names of objects. Pure: from the batch alone, so that a batch which is sent again overwrites its own object."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from sluicegate.destinations.base import Batch
from sluicegate.destinations.objectstore_settings import ObjectStoreSettings

_EXTENSIONS = {"gzip": ".gz", "zstd": ".zst", "none": ""}
_UNKNOWN = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, Spark and Athena call the partition of rows that have no value for it."""
_KEY_DIGITS = 12


class _Times(msgspec.Struct):
    """The members that say when an event came."""

    receivedAt: str | None = None
    timestamp: str | None = None


_decode = msgspec.json.Decoder(_Times).decode


class Naming:
    """Names the object of a batch: the path, then first and last offset and a digest of what is in it."""

    def __init__(self, settings: ObjectStoreSettings, destination_id: str) -> None:
        self._path = settings.path
        self._id = destination_id
        self._extension = "parquet" if settings.format == "parquet" else f"jsonl{_EXTENSIONS[settings.codec]}"

    def name(self, batch: Batch) -> str:
        """The name of its object, below the prefix of the store."""
        key = batch.key(self._id)[:_KEY_DIGITS]
        file = f"{batch.offsets[0]:012d}-{batch.offsets[-1]:012d}-{key}.{self._extension}"
        folder = self._folder(batch)
        return f"{folder}/{file}" if folder else file

    def _folder(self, batch: Batch) -> str:
        if "{" not in self._path:
            return self._path
        time = received(batch[0].raw)
        values = {
            "destination": self._id,
            "date": _UNKNOWN if time is None else time.date().isoformat(),
            "year": _UNKNOWN if time is None else f"{time.year:04d}",
            "month": _UNKNOWN if time is None else f"{time:%m}",
            "day": _UNKNOWN if time is None else f"{time:%d}",
            "hour": _UNKNOWN if time is None else f"{time:%H}",
        }
        return self._path.format(**values)


def received(raw: bytes) -> datetime | None:
    """When an event was received, in UTC; else its own time; None when it has neither."""
    try:
        times = _decode(raw)
    except msgspec.DecodeError:
        return None
    for text in (times.receivedAt, times.timestamp):
        time = read_time(text) if text else None
        if time is not None:
            return time
    return None


def read_time(text: str) -> datetime | None:
    """A time of ISO 8601 in UTC, None for any other text; without a zone it is taken for UTC."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

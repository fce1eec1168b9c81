"""What the objects are: JSON Lines or Parquet, compressed. pyarrow is imported for Parquet only."""

from __future__ import annotations

import gzip
from abc import ABC, abstractmethod
from typing import Any

import msgspec
import zstandard

from sluicegate.destinations.base import Batch
from sluicegate.destinations.objectstore_columns import COLUMNS, ID, TIMES, columns_of, row_of, shown
from sluicegate.destinations.objectstore_settings import Compression, ObjectStoreSettings
from sluicegate.errors import NotInstalled

GZIP_LEVEL = 6
ZSTD_LEVEL = 3


class Files(ABC):
    """Makes the content of an object."""

    content_type: str

    @abstractmethod
    def content(self, batch: Batch, rejected: dict[int, str]) -> bytes | None:
        """The content for a batch, the same whenever it is made; events that cannot be in it are put into `rejected`.

        None when none can.
        """

    @abstractmethod
    def shown(self, batch: Batch) -> list[Any]:
        """The same for people: a JSON value per event."""


class JsonLines(Files):
    """One event a line, as it was received."""

    def __init__(self, codec: Compression) -> None:
        self._codec = codec
        # The type of what is stored, and no Content-Encoding: stores and clients would decompress on the way.
        self.content_type = {"gzip": "application/gzip", "zstd": "application/zstd"}.get(codec, "application/x-ndjson")

    def content(self, batch: Batch, rejected: dict[int, str]) -> bytes | None:
        """The lines; every event can be one."""
        lines = batch.lines()
        if self._codec == "gzip":
            return gzip.compress(lines, GZIP_LEVEL, mtime=0)
        return zstandard.ZstdCompressor(ZSTD_LEVEL).compress(lines) if self._codec == "zstd" else lines

    def shown(self, batch: Batch) -> list[Any]:
        """The events."""
        return [msgspec.Raw(raw) for raw in batch.raws]


class Parquet(Files):
    """One row group of fixed columns (`objectstore_columns`); raises `NotInstalled` when pyarrow is not installed."""

    content_type = "application/vnd.apache.parquet"

    def __init__(self, codec: Compression) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise NotInstalled(
                f'format = "parquet" needs the module {error.name}, which is not installed; '
                "pip install 'sluicegate[parquet]'"
            ) from error
        self._pyarrow = pyarrow
        self._codec = codec
        self._time = pyarrow.timestamp("ms", tz="UTC")
        text = pyarrow.string()
        self._schema = pyarrow.schema(
            [pyarrow.field(name, self._time if name in TIMES else text, nullable=name != ID) for name in COLUMNS]
        )

    def content(self, batch: Batch, rejected: dict[int, str]) -> bytes | None:
        """The file."""
        columns = columns_of(batch.raws, batch.message_ids, rejected)
        if not columns[ID]:
            return None
        arrays = [self._array(name, values) for name, values in columns.items()]
        table = self._pyarrow.Table.from_arrays(arrays, schema=self._schema)
        sink = self._pyarrow.BufferOutputStream()
        self._pyarrow.parquet.write_table(table, sink, compression=self._codec)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _array(self, name: str, values: list[str | None]) -> Any:
        """A column; with a builder, because `pyarrow.array` imports pandas where that is installed, 50 MiB."""
        builder = self._pyarrow.lib.StringBuilder()
        builder.append_values(values)
        array = builder.finish()
        return array.cast(self._time) if name in TIMES else array

    def shown(self, batch: Batch) -> list[Any]:
        """The rows."""
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        return [shown(row_of(decode(event.raw), event.message_id)) for event in batch]


def files_for(settings: ObjectStoreSettings) -> Files:
    """What makes the objects that these settings want."""
    return Parquet(settings.codec) if settings.format == "parquet" else JsonLines(settings.codec)

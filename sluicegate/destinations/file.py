"""`file`: JSON Lines, one event a line, on disk before the events count as delivered."""

from __future__ import annotations

from sluicegate.destinations.appending import AppendFile
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.settings import FileSettings
from sluicegate.errors import NotReady, Retry


class File(Destination):
    """Appends each batch with one write and one fdatasync."""

    settings_type = FileSettings

    def __init__(self, settings: FileSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._file = AppendFile(context.data_dir / settings.path)

    def initialize(self) -> None:
        """Open the file, making its folders, and repair an end that a crash left torn."""
        try:
            self._file.open()
        except OSError as error:
            raise NotReady(f"{self._file.path} cannot be opened for appending: {error.strerror}") from error

    def deliver(self, batch: Batch) -> None:
        """Append the batch; `Retry` when the disk does not take it."""
        try:
            self._file.append(batch.lines())
        except OSError as error:
            raise Retry(f"{self._file.path} cannot be written: {error.strerror}") from error

    def destroy(self) -> None:
        """Close the file."""
        self._file.close()

"""`objectstore`: each batch is one object, whose name is made of the batch, so that sending it again overwrites it."""

from __future__ import annotations

from typing import Any

import msgspec

from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.objectstore_files import files_for
from sluicegate.destinations.objectstore_naming import Naming
from sluicegate.destinations.objectstore_settings import ObjectStoreSettings
from sluicegate.destinations.objectstore_store import Store
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Plan, Request
from sluicegate.destinations.starting import starting


class ObjectStore(Destination):
    """Puts batches into S3, Google Cloud Storage, Azure Blob Storage, or a folder."""

    settings_type = ObjectStoreSettings

    def __init__(self, settings: ObjectStoreSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._files = files_for(settings)
        self._naming = Naming(settings, context.id)
        self._store: Store | None = None

    def initialize(self) -> None:
        """Make the client, and the folder when it is one."""
        with starting():
            self._opened().check()

    def test(self) -> None:
        """Ask for an object that is not there, which needs the bucket and a login."""
        with starting():
            self._opened().look()

    def deliver(self, batch: Batch) -> Outcome | None:
        """Put the object of this batch."""
        rejected: dict[int, str] = {}
        content = self._files.content(batch, rejected)
        if content is not None:
            self._opened().put(self._naming.name(batch), content, content_type=self._files.content_type)
        return Outcome(rejected=rejected) if rejected else None

    def destroy(self) -> None:
        """Connect to nothing any more."""
        if self._store is not None:
            self._store.close()

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """The object's name and what is in it, as JSON; there is no request to show."""
        about: dict[str, Any] = {
            "object": f"{self.settings.url.rstrip('/')}/{self._naming.name(batch)}",
            "content_type": self.settings.content_type or self._files.content_type,
            "rows" if self.settings.format == "parquet" else "lines": self._files.shown(batch),
        }
        return Plan([Request("", msgspec.json.encode(about), range(len(batch)))])

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store(self.settings, self.context)
        return self._store

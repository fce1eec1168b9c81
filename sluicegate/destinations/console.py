"""`console`: one readable line per event, to look at what flows."""

from __future__ import annotations

import sys

import msgspec

from sluicegate.destinations.appending import AppendFile
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.settings import ConsoleSettings
from sluicegate.errors import NotReady, Retry

MAX_LINE = 400
"""Characters per line; what is longer is cut."""


class _Shown(msgspec.Struct):
    """What of an event the line shows; fields of unexpected types are shown as they are."""

    type: object = None
    event: object = None
    name: object = None
    timestamp: object = None
    userId: object = None
    anonymousId: object = None
    messageId: object = None
    properties: object = None
    traits: object = None


_decode = msgspec.json.Decoder(_Shown).decode


class Console(Destination):
    """Prints events to the file `path`, or to the standard output of its process, which is the log of the actors."""

    settings_type = ConsoleSettings

    def __init__(self, settings: ConsoleSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._file = AppendFile(context.data_dir / settings.path) if settings.path else None

    def initialize(self) -> None:
        """Open the file, if there is one."""
        if self._file:
            try:
                self._file.open()
            except OSError as error:
                raise NotReady(f"{self._file.path} cannot be opened for appending: {error.strerror}") from error

    def deliver(self, batch: Batch) -> None:
        """Print the batch; `Retry` when it cannot be written."""
        text = "".join(line_of(self.context.id, raw) for raw in batch.raws)
        try:
            if self._file:
                self._file.append(text.encode())
            else:
                encoding = sys.stdout.encoding or "utf-8"  # which may be that of a locale without most letters
                sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
                sys.stdout.flush()
        except OSError as error:
            raise Retry(f"cannot print: {error.strerror}") from error

    def destroy(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def line_of(destination_id: str, raw: bytes) -> str:
    """One line for one event: time, destination, type, name, subject, message id, and the properties."""
    try:
        shown = _decode(raw)
    except msgspec.DecodeError:
        return _clean(f"{destination_id} not a JSON object: {raw[:MAX_LINE]!r}")
    what = shown.event or shown.name or ""
    details = shown.properties or shown.traits
    body = msgspec.json.encode(details).decode() if details else ""
    return _clean(
        f"{shown.timestamp or '-'} {destination_id} {shown.type or '?'} {what!s} "
        f"subject={shown.userId or shown.anonymousId or '-'} id={shown.messageId or '-'} {body}"
    )


def _clean(line: str) -> str:
    # Event texts come from anyone: no control characters, which terminals obey, and no line breaks.
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[:MAX_LINE])
    return shown.rstrip() + "\n"

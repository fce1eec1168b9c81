"""Events from a file or from standard input, in any of the forms in which people have them."""

from __future__ import annotations

from typing import Any, BinaryIO

import click
import msgspec

MAX_INPUT_BYTES = 64 * 1024 * 1024
_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some programs write before UTF-8."""


def read_all(file: BinaryIO) -> bytes:
    """What stands in the input; raises `UsageError` when that is too much."""
    data = file.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise click.UsageError(f"the input is larger than {MAX_INPUT_BYTES >> 20} MiB; split it")
    return data


def raw_events(data: bytes) -> list[bytes]:
    """The events of an input, byte for byte as they stand there; raises `UsageError`.

    It is an event as JSON, several as JSON Lines or a JSON array, or a body as clients post it (`{"batch": [...]}`).
    """
    data = data.removeprefix(_MARK)
    try:
        found = _documents(data)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"the input is neither JSON nor JSON Lines: {error}") from error
    except RecursionError as error:
        raise click.UsageError("the input is nested too deeply") from error
    events = [bytes(one).strip() for one in found]
    if not all(event.startswith(b"{") for event in events):
        raise click.UsageError("the input has something that is no event; write JSON objects")
    return events


def read_events(data: bytes) -> list[dict[str, Any]]:
    """The events of an input, decoded; raises `UsageError`."""
    try:
        return [msgspec.json.decode(event) for event in raw_events(data)]
    except msgspec.DecodeError as error:
        raise click.UsageError(f"the input is neither JSON nor JSON Lines: {error}") from error
    except RecursionError as error:
        raise click.UsageError("the input is nested too deeply") from error


def _documents(data: bytes) -> list[msgspec.Raw]:
    try:
        return _parts(msgspec.json.decode(data, type=msgspec.Raw))
    except msgspec.DecodeError:
        return [msgspec.json.decode(line, type=msgspec.Raw) for line in data.splitlines() if line.strip()]


def _parts(raw: msgspec.Raw) -> list[msgspec.Raw]:
    text = bytes(raw).lstrip()
    if text.startswith(b"["):
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    if text.startswith(b"{"):
        batch = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get("batch")
        if batch is not None and bytes(batch).startswith(b"["):
            return msgspec.json.decode(batch, type=list[msgspec.Raw])
    return [raw]

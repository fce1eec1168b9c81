"""Global Privacy Control (globalprivacycontrol.github.io/gpc-spec), and the older Do Not Track."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date

WELL_KNOWN_PATH = "/.well-known/gpc.json"


def is_set(values: Iterable[bytes]) -> bool:
    """Whether one of the values of all `Sec-GPC` (or `DNT`) headers of a request is exactly 1.

    Anything else says nothing: the signal can be given, and never taken back.
    """
    return any(part.strip(b" \t") == b"1" for value in values for part in value.split(b","))


def is_set_in_context(value: object) -> bool:
    """Whether `context.gpc` of an event, as decoded, says so; only true does."""
    return value is True


def well_known(changed: date) -> bytes:
    """The document that says that the signal is honoured here, since `changed`."""
    return json.dumps({"gpc": True, "lastUpdate": changed.isoformat()}).encode()

"""Reading events for mappers: places, texts, numbers and times, whatever clients put there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID, uuid5

import msgspec

from sluicegate.acceptance.times import read_ms
from sluicegate.destinations.plan import FOREIGN, TOO_OLD, Broken, Foreign, Numbered, Plan, TooOld

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_BETWEEN_WORDS = re.compile(r"[\s_]+")

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""0001-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z."""
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""That of URLs (RFC 9562, appendix A)."""


def words(text: str) -> frozenset[str]:
    """The words of a table that is written as a text."""
    return frozenset(text.split())


@lru_cache(maxsize=4_096)
def _steps(place: str) -> tuple[str, ...]:
    return tuple(place.split("."))


def at(event: Any, *places: str) -> Any:
    """What is at the first of these places that has anything; None, an empty text and an empty object are nothing."""
    for place in places:
        value = event
        for step in _steps(place):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and value != "" and value != {}:
            return value
    return None


def text(event: Any, *places: str) -> str | None:
    """The first text or whole number at these places, as a text without spaces around it."""
    for place in places:
        value = at(event, place)
        if isinstance(value, str | int) and not isinstance(value, bool) and (found := str(value).strip()):
            return found
    return None


PLACEHOLDERS = words("anonymous nil none null n/a na undefined unknown true false 0 -1 [] {}")
"""What faulty clients send as an id, in lower case; every vendor refuses these, as they would be one person to it."""


def identifier(event: Any, *places: str, refused: frozenset[str] = PLACEHOLDERS) -> str | None:
    """The first text at these places that can be somebody's id: no placeholder and not zeros alone."""
    for place in places:
        found = text(event, place)
        if found and found.lower() not in refused and found.strip("0-"):
            return found
    return None


def external_id(event: Mapping[str, Any], kind: str) -> str | None:
    """The id of a kind in `context.externalId`, where RudderStack's clients put ids that vendors gave."""
    found = at(event, "context.externalId")
    return (
        next((text(one, "id") for one in found if text(one, "type") == kind), None) if isinstance(found, list) else None
    )


def event_name(event: Mapping[str, Any]) -> str:
    """The name of a track call as it is, white space around it included; raises `Broken` when there is none."""
    if text(event, "event") is None:
        raise Broken("the event has no name")
    return str(event["event"])


def plain_name(name: str) -> str:
    """A name as tables have it: in lower case, with one space between words."""
    return _BETWEEN_WORDS.sub(" ", name).strip().lower()


def number(value: Any) -> int | float | None:
    """A number, one that was written as a text included; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        found = float(value.strip())
    except ValueError:
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found.is_integer() and "." not in value and abs(found) < 2**53 else found


def time_ms(event: Mapping[str, Any]) -> int | None:
    """When the event happened in Unix ms: its `timestamp`, else when it was received; in the years 1 to 9999 of UTC."""
    for name in ("timestamp", "originalTimestamp", "receivedAt", "sentAt"):
        if (found := read_ms(event.get(name))) is not None and FIRST_MS <= found <= LAST_MS:
            return found
    return None


def properties(event: Mapping[str, Any]) -> dict[str, Any]:
    """The `properties` of an event, an empty object when it has none."""
    return _object(event.get("properties"))


def group_traits(event: Mapping[str, Any]) -> dict[str, Any]:
    """The traits of a group, an empty object when it has none: vendors take no other value of these
    (posthog.com/docs/data/ingestion-warnings).
    """
    return _object(event.get("traits"))


def _object(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def traits(event: Mapping[str, Any]) -> dict[str, Any]:
    """The traits of a person: `context.traits`, over them `traits`."""
    both = (at(event, "context.traits"), event.get("traits"))
    return {name: value for one in both if isinstance(one, dict) for name, value in one.items()}


def products(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects in `properties.products`."""
    found = properties(event).get("products")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def renamed(source: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """The members of `source` that a table from their names to others has, under the others; the first found wins."""
    found: dict[str, Any] = {}
    for old, new in table.items():
        if (value := at(source, old)) is not None:
            found.setdefault(new, value)
    return found


def uuid_of(message_id: str) -> str:
    """The UUID that stands for a message id: itself if it is one, else its UUIDv5."""
    try:
        return str(UUID(message_id)) if len(message_id) == 36 else str(uuid5(_NAMESPACE, message_id))
    except ValueError:
        return str(uuid5(_NAMESPACE, message_id))


def consents(event: Mapping[str, Any]) -> dict[str, bool]:
    """What the client said about consent, by category; a refusal counts, wherever it is.

    It is read where Segment, RudderStack, c15t and walkerOS have it.
    """
    found: dict[str, bool] = {}
    for said in (at(event, "context.consent.categoryPreferences"), event.get("consent")):
        if isinstance(said, dict):
            for name, granted in said.items():
                if isinstance(granted, bool):
                    found[name] = granted and found.get(name, True)
    for name in ("allowedConsentIds", "deniedConsentIds"):
        ids = at(event, f"context.consentManagement.{name}")
        for one in ids if isinstance(ids, list) else ():
            if isinstance(one, str):
                found[one] = name == "allowedConsentIds" and found.get(one, True)
    return found


def encoded(record: Mapping[str, Any], *, max_bytes: int) -> bytes:
    """A record as JSON; raises `Broken` when it has more bytes than the vendor takes of an event."""
    found = _encode(record)
    if len(found) > max_bytes:
        raise Broken(f"larger than the {max_bytes} bytes that an event may have")
    return found


def each(plan: Plan, batch: Sequence[Numbered], make: Callable[[Numbered], T]) -> Iterable[tuple[int, T]]:
    """What `make` gives for each event; `Broken`, `Foreign` and `TooOld` go into the plan."""
    for one in batch:
        try:
            yield one.index, make(one)
        except Broken as error:
            plan.rejected[one.index] = str(error)
        except Foreign:
            plan.skipped[one.index] = FOREIGN
        except TooOld:
            plan.skipped[one.index] = TOO_OLD

"""Places in an event, as the configuration writes them: `properties.total`, `properties.products[].sku`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_STEP = re.compile(r"[^.\[\]\s](?:[^.\[\]]*[^.\[\]\s])?(?:\[\])?")
MAX_STEPS = 16


class Place(NamedTuple):
    """Names from the outside in; one that ends with `[]` is a list and means each of its elements."""

    steps: tuple[str, ...]

    @property
    def is_single(self) -> bool:
        """Whether there is at most one such place in an event."""
        return not any(step.endswith("[]") for step in self.steps)

    def __str__(self) -> str:
        return ".".join(self.steps)


def parse_place(text: str) -> Place:
    """The place that a text names; raises `ValueError` saying what is wrong with it."""
    steps = tuple(text.split("."))
    if len(steps) > MAX_STEPS:
        raise ValueError(f"has more than {MAX_STEPS} names")
    if not all(map(_STEP.fullmatch, steps)) or steps[-1].endswith("[]"):
        raise ValueError("is not a place in an event; write names with dots between, like properties.total")
    return Place(steps)


def read(event: dict[str, Any], place: Place) -> Any:
    """The value at a single place, None when there is none."""
    for holder, name in holders(event, place):
        return holder[name]
    return None


def write(event: dict[str, Any], place: Place, value: Any) -> None:
    """Put a value at a single place, making the objects around it; what is there and is no object is replaced."""
    *outer, name = place.steps
    holder = event
    for step in outer:
        inner = holder.get(step)
        if not isinstance(inner, dict):
            inner = holder[step] = {}
        holder = inner
    holder[name] = value


def holders(event: dict[str, Any], place: Place) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects that have the place's last name, and that name; objects are not changed while this is read on."""
    *outer, name = place.steps
    objects: list[Any] = [event]
    for step in outer:
        inner = [one.get(step.removesuffix("[]")) for one in objects if isinstance(one, dict)]
        if step.endswith("[]"):
            inner = [element for one in inner if isinstance(one, list) for element in one]
        objects = inner
    return iter([(one, name) for one in objects if isinstance(one, dict) and name in one])

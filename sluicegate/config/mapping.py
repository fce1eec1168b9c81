"""Reading `[destinations.ID.map]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluicegate.config.keys import MAP
from sluicegate.config.problems import KeyPath, Problems, Wrong
from sluicegate.config.scalars import texts
from sluicegate.mapping.model import MapConfig
from sluicegate.mapping.places import Place, parse_place

_MUST_STAY = frozenset({"type", "messageId"})
"""Without these no destination can tell what an event is, or that it has seen it before."""


class MapReader:
    """Reads the table at `path`; what is wrong becomes problems."""

    def __init__(self, path: KeyPath, problems: Problems) -> None:
        self._path = path
        self._problems = problems

    def read(self, raw: object) -> MapConfig:
        """The changes; those with mistakes are left out."""
        if not isinstance(raw, Mapping):
            self._problems.add(self._path, "must be a table", f"write [{'.'.join(map(str, self._path))}]")
            return MapConfig()
        for name in raw:
            if name not in MAP.names:
                self._problems.add_unknown((*self._path, name), MAP.names)
        return MapConfig(
            only=self._texts(raw, "only"),
            skip=self._texts(raw, "skip"),
            user_id=self._identifier(raw, "user_id"),
            anonymous_id=self._identifier(raw, "anonymous_id"),
            rename=self._rename(raw),
            drop=self._places(raw, "drop"),
            hash=self._places(raw, "hash"),
            add=self._add(raw),
        )

    def _texts(self, raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
        if key not in raw:
            return ()
        try:
            return texts(raw[key])
        except Wrong as wrong:
            self._problems.add_wrong((*self._path, key), wrong)
            return ()

    def _places(self, raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
        return tuple(text for text in self._texts(raw, key) if self._place((key,), text, changes=True) is not None)

    def _identifier(self, raw: Mapping[str, Any], key: str) -> str:
        text = raw.get(key, "")
        if key not in raw:
            return ""
        if not isinstance(text, str):
            self._problems.add((*self._path, key), "must be a place", 'write "traits.crm_id"')
            return ""
        return text if self._place((key,), text, single=True) is not None else ""

    def _rename(self, raw: Mapping[str, Any]) -> dict[str, str]:
        found = {}
        for old, new in self._table(raw, "rename").items():
            if not isinstance(new, str):
                self._problems.add((*self._path, "rename", old), "must be a place", 'write "properties.revenue"')
                continue
            places = [self._place(("rename", old), text, single=True, changes=True) for text in (old, new)]
            if None not in places:
                found[old] = new
        return found

    def _add(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table(raw, "add")
        return {
            text: value
            for text, value in table.items()
            if self._place(("add", text), text, single=True, changes=True) is not None
        }

    def _table(self, raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        table = raw.get(key, {})
        if isinstance(table, Mapping):
            return table
        self._problems.add((*self._path, key), "must be a table", f'write {key} = {{ "properties.a" = "..." }}')
        return {}

    def _place(self, key: KeyPath, text: str, *, single: bool = False, changes: bool = False) -> Place | None:
        try:
            place = parse_place(text)
        except ValueError as error:
            reason, _, suggestion = str(error).partition("; ")
            self._problems.add((*self._path, *key), f"{text!r} {reason}", suggestion)
            return None
        if single and not place.is_single:
            self._problems.add((*self._path, *key), f"{text!r} is many places", "name one, without []")
            return None
        if changes and place.steps[0] in _MUST_STAY:
            self._problems.add((*self._path, *key), f"{text!r} must stay as it is", "leave it out")
            return None
        return place

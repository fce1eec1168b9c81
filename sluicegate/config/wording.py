"""How the types of settings are called when people read about them."""

from __future__ import annotations

import json
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from sluicegate.config.secret import Secret

_WORDS = {Secret: "secret", str: "text", int: "integer", float: "number", bool: "true | false", NoneType: "null"}
_OF_MSGSPEC = {
    "str": "a text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "list": "a list",
    "object": "a table",
    "dict": "a table",
    "null": "null",
}
_HOW_TO_WRITE = {
    "str": 'write it in quotes: "..."',
    "int": "write a whole number without quotes, such as 10",
    "float": "write a number without quotes, such as 0.5",
    "bool": "write true or false without quotes",
    "array": 'write a list: ["..."]',
    "object": 'write a table: { name = "..." }',
}
_EXPECTED = re.compile(r"^Expected `([^`]*)`, got `([^`]*)`$")


def type_text(kind: Any) -> str:
    """A type in words of the configuration: `text | null`, `list of text`, `"event" | "granted"`."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(json.dumps(one) for one in inner)
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, inner))
    if origin in (list, tuple, frozenset) and inner:
        return f"list of {type_text(inner[0])}"
    if origin is dict:
        return f"table of {type_text(inner[1])}"
    return getattr(kind, "__name__", str(kind))


def _first(names: str) -> str:
    return next((name for name in names.split(" | ") if name != "null"), "")


def reason_and_suggestion(error: str, kind: Any) -> tuple[str, str]:
    """What is wrong with a value of a setting of this type, and what to write, from msgspec's words."""
    match = _EXPECTED.match(error)
    if match:
        wanted = " or ".join(_OF_MSGSPEC.get(name, name) for name in match[1].split(" | ") if name != "null")
        return f"must be {wanted}, not {_OF_MSGSPEC.get(match[2], match[2])}", _HOW_TO_WRITE.get(_first(match[1]), "")
    if error.startswith("Invalid enum value"):
        return "is none of the possible values", f"write {type_text(kind).removesuffix(' | null')}"
    reason, _, suggestion = error.partition("; ")
    return reason, suggestion

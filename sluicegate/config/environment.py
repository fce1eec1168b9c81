"""Variables: `${NAME}` in any text of the file is taken from the environment, `$${` stands for `${`."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

from sluicegate.config.problems import KeyPath, Problems

MAX_DEPTH = 32
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INT64 = 1 << 63


def substitute(document: Mapping[str, Any], environ: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """The document with variables put in, and with plain values only.

    Dates become texts, because a configuration travels as msgpack. What cannot be carried at all (a number that is
    not finite or exceeds 64 bits, text that is not Unicode, nesting past `MAX_DEPTH`) is a problem.
    """
    return {key: _walk(value, (key,), environ, problems) for key, value in document.items()}


def _walk(value: Any, path: KeyPath, environ: Mapping[str, str], problems: Problems) -> Any:
    if isinstance(value, Mapping | list) and len(path) >= MAX_DEPTH:
        problems.add_unreadable(path[:4], f"nested more than {MAX_DEPTH} levels deep")
        return None
    if isinstance(value, Mapping):
        return {str(key): _walk(item, (*path, str(key)), environ, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, (*path, index), environ, problems) for index, item in enumerate(value)]
    if isinstance(value, str):
        return _expand(value, path, environ, problems)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return _number(value, path, problems)


def _number(value: Any, path: KeyPath, problems: Problems) -> Any:
    """The value, None for a number that cannot be carried: not everything that reads it could cope."""
    if isinstance(value, float) and not math.isfinite(value):
        problems.add_unreadable(path, "not a finite number")
        return None
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        problems.add_unreadable(path, "does not fit into 64 bits")
        return None
    return value


def _expand(text: str, path: KeyPath, environ: Mapping[str, str], problems: Problems) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None or not _NAME.fullmatch(name):
            problems.add_unreadable(path, "${ without a variable's name", "write ${NAME}, or $${ for a literal ${")
            return ""
        value = environ.get(name)
        if value is None:
            problems.add_unreadable(path, f"the environment has no variable {name}", f"set it first: export {name}=...")
            return ""
        problems.hide(value, variable=name)
        return value

    expanded = _VARIABLE.sub(replacement, text)
    try:
        expanded.encode()
    except UnicodeEncodeError:
        problems.add_unreadable(path, "not Unicode text", "check the encoding of the variable")
        return ""
    return expanded

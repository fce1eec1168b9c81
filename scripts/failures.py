"""How a command that fails says so: a text for people, an object for programs, and an exit code for both."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from sluicegate.errors import ConfigError, NotRunning, Refused, SluicegateError

DONE, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3
"""The exit codes."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 20
"""Characters around the one that is wrong."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command did not do what was asked; `code` tells a program which of a few kinds it is."""

    error: str
    code: str
    exit_code: int
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line for a program."""
        return json.dumps({"error": self.error, "code": self.code, **self.more}, default=str)


def failure_of(error: Exception) -> Failure | None:
    """What to tell of an error; None for one that is no business of the user, and so keeps its traceback."""
    match error:
        case click.UsageError():
            return Failure(error.format_message(), "usage", error.exit_code)
        case click.ClickException():
            return Failure(error.format_message(), "failed", error.exit_code)
        case ConfigError():
            problems = [problem_json(problem) for problem in error.problems]
            return Failure(str(error), "configuration", USAGE, {"problems": problems})
        case NotRunning():
            return Failure(str(error), "not_running", NOT_RUNNING)
        case Refused():
            return Failure(str(error), "refused", FAILED)
        case SluicegateError():
            return Failure(str(error), "failed", FAILED)
        case UnicodeEncodeError() if _SURROGATE.search(error.object):  # what Python makes of bytes in an argument
            return Failure(f"{_around(error)!r} is not UTF-8: check the encoding of the arguments", "usage", USAGE)
        case OSError() if error.errno != errno.EPIPE:  # a reader that has left is click's to deal with
            return Failure(_os_text(error), "failed", FAILED)
    return None


def problem_json(problem: Any) -> dict[str, Any]:
    """A mistake in a configuration as JSON values."""
    shown = {name: getattr(problem, name) for name in ("key", "value", "reason", "suggestion")}
    return {**shown, "value": _json_value(problem.value)}


def _json_value(value: Any) -> Any:
    """A value of a configuration, with the numbers that JSON does not have as TOML writes them."""
    if isinstance(value, Mapping):
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line wants output for programs, also one that cannot be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _around(error: UnicodeEncodeError) -> str:
    return error.object[max(0, error.start - _SHOWN) : error.start + _SHOWN]


def _os_text(error: OSError) -> str:
    """What failed and where, such as `data/lock: Permission denied`."""
    if error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror

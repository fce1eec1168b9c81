"""Log lines: one form for every process, for people or as JSON, without secrets and without obeying what they quote."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from sluicegate.masking import hidden

MAX_FIELD_CHARS = 2_048
EVENT_FIELDS = ("destination", "source", "message_id", "offset", "attempts", "reason")
"""What a line may say beside its text, given as `extra`; each is a field of its own in JSON."""

_process: dict[str, str] = {"part": "sluicegate"}
_log = logging.getLogger(__name__)


class LogFormat(StrEnum):
    """How lines look; AUTO is CONSOLE on a terminal and JSON everywhere else."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class LogStyle:
    """From which level on lines are written, and how they look."""

    level: str = "info"
    format: LogFormat = LogFormat.CONSOLE

    def formatter(self) -> logging.Formatter:
        """What makes lines of this style."""
        return JsonFormatter() if self.format is LogFormat.JSON else ConsoleFormatter()


PLAIN = LogStyle()


class ConsoleFormatter(logging.Formatter):
    """`TIME LEVEL PART[PID] LOGGER: TEXT NAME=VALUE ...`; the lines of a traceback are indented behind a bar."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of its traceback."""
        fields = _fields(record)
        head = f"{_time(record)} {record.levelname:<7} {fields.pop('part')}[{record.process}] {record.name}"
        rest = "".join(f" {name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
        lines = [f"{head}: {_shown(_message(record))}{rest}"]
        lines += [f"    | {printable(line)}" for line in _error(record).split("\n") if line]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, part, process, logger, message, event fields, and error (a traceback)."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {"time": _time(record), "level": record.levelname.lower()}
        line |= {"part": _process["part"], "process": record.process, "logger": record.name}
        line |= {"message": _shown(_message(record))}
        line |= _fields(record)
        if error := _error(record):
            line["error"] = "\n".join(map(printable, error.split("\n")))
        return json.dumps(line, ensure_ascii=False)


class ShowsNoSecret(logging.Handler):
    """A handler that shows a line which it cannot write on standard error as it would be, not as it was given.

    `logging` itself would print the arguments in the clear, and a traceback for each line while a disk is full.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        """Say the line on standard error, if that takes it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)  # a mistake in the line itself
            return
        with contextlib.suppress(OSError, ValueError):
            print(self.format(record), file=sys.stderr, flush=True)


class _Stream(ShowsNoSecret, logging.StreamHandler[TextIO]):
    """Lines on a stream."""


class _File(ShowsNoSecret, logging.FileHandler):
    """Lines in a file."""


def set_up_logs(style: LogStyle, *, path: Path | None = None) -> LogStyle:
    """Send log lines of this process and its children to standard error, or to a file (mode 0600).

    Errors that nobody catches become log lines too. Returns the style with AUTO decided.
    """
    if style.format is LogFormat.AUTO:
        is_terminal = path is None and sys.stderr.isatty()
        style = LogStyle(style.level, LogFormat.CONSOLE if is_terminal else LogFormat.JSON)
    handler: logging.Handler
    if path is None:
        handler = _Stream(sys.stderr)
    else:
        path.touch(mode=0o600)
        handler = _File(path, encoding="utf-8", errors="replace")
    handler.setFormatter(style.formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(style.level.upper())
    catch_all_errors()
    return style


def catch_all_errors() -> None:
    """Log errors that end the process or a thread, instead of printing them with whatever they quote."""
    sys.excepthook = lambda kind, error, trace: _log.critical("ended by an error", exc_info=error)
    threading.excepthook = lambda raised: _log.error(
        "a thread has ended: %s", raised.thread and raised.thread.name, exc_info=raised.exc_value
    )


def be_part(part: str, **fields: str) -> None:
    """Say in every line of this process, and of those that it will fork, which part of the system it is."""
    _process.clear()
    _process.update({"part": part, **fields})


def printable(text: str) -> str:
    """The text with every control character, ANSI sequence and invisible character shown instead of obeyed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # `logging` would print the arguments in the clear, and lose the line.
        place = f"{record.pathname}:{record.lineno}"
        return f"{record.msg} (its arguments cannot be shown, {place}: {type(error).__name__})"


def _shown(text: str) -> str:
    text = printable(hidden(text))
    return text if len(text) <= MAX_FIELD_CHARS else text[: MAX_FIELD_CHARS - 1] + "…"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = dict(_process)
    for name in EVENT_FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            fields[name] = value if isinstance(value, int) else _shown(str(value))
    return fields


def _error(record: logging.LogRecord) -> str:
    """The traceback without secrets; the end of a long one, which has the error."""
    if not record.exc_info:
        return ""
    text = hidden(logging.Formatter().formatException(record.exc_info))
    return text if len(text) <= MAX_FIELD_CHARS else "…" + text[1 - MAX_FIELD_CHARS :]

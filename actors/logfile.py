"""The log file of the actor system: written by each process itself, and readable by its owner alone."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
from pathlib import Path
from typing import IO, Any

from thespian.system import utilis

from sluicegate.logs import PLAIN, LogStyle, ShowsNoSecret, catch_all_errors

_THESPIAN_LOG_BYTES = 256 * 1024  # of two files; what Thespian says about itself is repetitive
_SILENT = logging.CRITICAL + 1


class LogFile(ShowsNoSecret, logging.handlers.WatchedFileHandler):
    """Appends whole lines to the log file, which may be rotated or removed from outside; who logs is never disturbed.

    Thespian would send every record to its logger process as a message, and a logger that hangs would take the
    places of messages that matter. Lines appended to one file by many processes do not mix.
    """

    def __init__(self, path: Path, style: LogStyle = PLAIN) -> None:
        _create_private(path)
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(style.formatter())
        self._level = style.level.upper()

    def take_over(self) -> None:
        """Send the records of every logger that exists in this process to the file, and to nowhere else."""
        logging.root.handlers[:] = [self]
        logging.root.setLevel(self._level)
        catch_all_errors()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line; opening the file may fail too."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(mode=0o700, exist_ok=True)
        return _open_private(self.baseFilename, "a")


def keep_thespians_log(path: Path) -> None:
    """Send what Thespian says about itself to this file, and its predecessor to the same name with `.old`."""
    _create_private(path)
    utilis._thesplog_file = str(path)
    utilis._thesplog_old_file = f"{path}.old"
    utilis.open = _open_private
    utilis.thesplog_control(logging.WARNING, False, _THESPIAN_LOG_BYTES)


def silence_thespians_log() -> None:
    """Drop what Thespian says about itself, unless it has a file: by itself it takes a guessable name in /tmp."""
    if utilis._thesplog_file is None:
        utilis.thesplog_control(_SILENT, False, 0)


def _create_private(path: Path) -> None:
    """Make the file if there is none, and its mode 0600."""
    with _open_private(path, "a") as file:
        os.fchmod(file.fileno(), 0o600)


def _open_private(path: str | os.PathLike[str], mode: str) -> IO[Any]:
    """Open for appending, with mode 0600 when that makes the file."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        file = os.fdopen(fd, mode, encoding="utf-8", errors="replace")
        stack.pop_all()
    return file

"""Log lines: one format for every process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)-7s %(name)s[%(process)d] %(message)s"


class _Escaping(logging.Formatter):
    """Keeps a message on its own line: control characters from outside are shown, not obeyed."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().formatMessage(record))


def set_up_logs(level: str, *, path: Path | None = None) -> None:
    """Send log lines of this process and its children to standard error, or to a file (mode 0600)."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        path.touch(mode=0o600)
        handler = logging.FileHandler(path)
    handler.setFormatter(_Escaping(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())

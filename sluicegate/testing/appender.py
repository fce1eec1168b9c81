"""A process that appends to a log until it is killed, and says what has been acknowledged.

    python -m sluicegate.testing.appender FACTORY PATH NAME [N_APPENDS]

FACTORY is "module:callable" and is called with PATH. Each append has a batch of one and one of two events; their
bytes are "NAME-APPEND-EVENT". After each, one line "APPEND OFFSET OFFSET" goes to standard output.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from sluicegate.eventlog.base import EventLog
from sluicegate.testing.batches import batch_of


def load_factory(name: str) -> Callable[[Path], EventLog]:
    """The callable that "module:callable" names."""
    module, _, attribute = name.partition(":")
    factory: Callable[[Path], EventLog] = getattr(importlib.import_module(module), attribute)
    return factory


def event_of(name: str, append: int, index: int) -> bytes:
    """The bytes of one event of one append."""
    return f"{name}-{append}-{index}".encode()


def main(factory: str, path: str, name: str, n_appends: str | None = None) -> None:
    """Append and report, for ever or so often."""
    log = load_factory(factory)(Path(path))
    for append in itertools.count() if n_appends is None else range(int(n_appends)):
        batches = [batch_of([event_of(name, append, 0)]), batch_of([event_of(name, append, i) for i in (1, 2)])]
        offsets = log.append(batches, received_at_ms=append)
        print(append, *offsets, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

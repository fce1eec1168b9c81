"""A connection to PostgreSQL whose every wait for the server ends."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.rows import TupleRow

GRACE_S = 1.0
"""So much longer than its own time-outs the server may take, so that it is the one to say what took too long."""


class Connection(psycopg.Connection[TupleRow]):
    """Gives up on a server that says nothing for longer than `answer_timeout_s`.

    Its `statement_timeout` does not hold for a COMMIT, which waits for a synchronous standby that is gone for ever, nor
    for a server that is stopped while its machine answers; libpq would wait just as long.
    """

    answer_timeout_s = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """What the server answers; raises `OperationalError` when it takes too long, and then is closed."""
        return super().wait(self._in_time(gen), *args, **options)

    def _in_time(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + self.answer_timeout_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("did not answer in time")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

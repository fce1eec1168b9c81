"""What failures mean before there is anything to deliver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluicegate.errors import NotReady, Retry


@contextmanager
def starting() -> Iterator[None]:
    """For `initialize` and `test`: what may succeed later (`Retry`) is `NotReady` there."""
    try:
        yield
    except Retry as error:
        raise NotReady(str(error)) from error

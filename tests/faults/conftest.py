from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.destinations.conftest import raw_server
from tests.end_to_end.conftest import receiver, system

__all__ = ["raw_server", "receiver", "system"]

Tally = Callable[[int, int], None]
"""Told how many events were acknowledged and how many of them are accounted for."""


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Notes events for the loss report, and insists that none is lost."""

    def note(n_acknowledged: int, n_kept: int) -> None:
        record_property("acknowledged", n_acknowledged)
        record_property("lost", n_acknowledged - n_kept)
        assert n_kept == n_acknowledged

    return note

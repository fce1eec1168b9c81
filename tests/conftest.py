from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A shared or slow machine is not a failure: what takes how long is measured in benchmarks. The same examples each time,
# so that a change is not refused for what it has not changed; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

LONGEST = ("test_nothing_acknowledged_is_lost[F31]", "test_nothing_acknowledged_is_lost[F45]")
"""One waits for a circuit breaker, for a minute; one stops many systems, one after the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that no process is left alone with them in the end."""
    items.sort(key=lambda item: item.name not in LONGEST)

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.harness import System
from tests.end_to_end.receiver import Receiver


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Callable[..., System]]:
    made: list[System] = []

    def make(destinations: str, **options: object) -> System:
        made.append(System(tmp_path, destinations, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()

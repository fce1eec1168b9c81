from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.case import Case
from tests.hostile.client import ask
from tests.hostile.corpus import CORPUS
from tests.hostile.process import Gateway

QUICK: dict[str, Any] = {"head_timeout_s": 2.0, "body_grace_s": 1.0, "linger_s": 0.5}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(Path(tmp_path_factory.mktemp("hostile")), **QUICK)
    yield running
    assert running.process.poll() is None
    assert running.close() == 0
    assert running.log == ""


def test_corpus_has_at_least_200_requests_of_different_names() -> None:
    assert len({case.name for case in CORPUS}) == len(CORPUS) >= 200


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_hostile_request_is_answered_as_stated(gateway: Gateway, case: Case) -> None:
    asyncio.run(ask(gateway.address, case))

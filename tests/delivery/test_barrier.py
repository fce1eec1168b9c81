from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from sluicegate.consent.evidence import Told
from sluicegate.delivery import barrier
from sluicegate.delivery.barrier import Barrier, Denials, Stopped
from tests.delivery.site import says
from tests.gateway.harness import make_config


def test_denials_beyond_those_that_may_wait_are_reported_as_unknown_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = threading.Event()

    def pass_on(self: Barrier, told: Iterable[Told]) -> Stopped:
        confirmed.wait()
        return Stopped()

    monkeypatch.setattr(Barrier, "pass_on", pass_on)
    monkeypatch.setattr(barrier, "MAX_WAITING", 3)
    reports: queue.Queue[tuple[int, Stopped | None]] = queue.Queue()
    denials = Denials[int](make_config(tmp_path), reports.put)

    for number in range(4):
        denials.pass_on(says(False), number)
    refused = reports.get(timeout=10)
    confirmed.set()
    rest = [reports.get(timeout=10) for _ in range(3)]
    denials.pass_on(says(False), 4)

    assert refused == (3, None)
    assert rest == [(0, Stopped()), (1, Stopped()), (2, Stopped())]
    assert reports.get(timeout=10) == (4, Stopped())
    denials.close()

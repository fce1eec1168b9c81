from __future__ import annotations

from collections.abc import Callable

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.errors import Problem
from sluicegate.eventlog.seen import SeenIds
from tests.config.conftest import Document, Read


def test_log_is_bounded_and_deduplicated_by_default(document: Document, read: Read) -> None:
    log = read(document).log

    assert log == LogConfig()
    assert (log.dedup_window_s, log.retention_s, log.max_age_s) == (86_400, 86_400, 7 * 86_400)
    assert SeenIds.of(log) is not None


@pytest.mark.parametrize("off", [0, False, "0s"])
def test_deduplication_can_be_turned_off(document: Document, read: Read, off: object) -> None:
    document["log"] = {"dedup_window": off}

    log = read(document).log

    assert log.dedup_window_s == 0
    assert SeenIds.of(log) is None


def test_every_key_of_the_log_is_read(document: Document, read: Read) -> None:
    document["log"] = {
        "dedup_window": "1h",
        "dedup_max_ids": 1_000,
        "retention": "2h",
        "max_age": "1d",
        "max_size": "1GiB",
        "min_free": "64MiB",
        "min_free_percent": 1,
    }

    log = read(document).log

    assert log == LogConfig(3_600, 1_000, 7_200, 86_400, 1 << 30, 64 << 20, 1)


def test_greatest_age_must_leave_room_for_the_retention(
    document: Document, problems_of: Callable[..., dict[str, Problem]]
) -> None:
    document["log"] = {"retention": "2d", "max_age": "1d"}

    assert list(problems_of(document)) == ["log.max_age"]

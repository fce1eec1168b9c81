from typing import Any

import pytest

from sluicegate.acceptance.times import read_ms
from tests.accepting import HOUR, RECEIVED, RECEIVED_MS, SECOND, accept, event, stored


def test_missing_timestamp_is_the_original_corrected_by_the_clock_of_the_client() -> None:
    accepted = accept(
        event(timestamp=..., originalTimestamp="2026-11-23T12:00:00.000Z"), sentAt="2026-11-23T12:00:10.000Z"
    )

    assert accepted.batch.times_ms == [RECEIVED_MS - 10 * SECOND]
    assert stored(accepted)["timestamp"] == "2026-11-23T16:59:50.000Z"
    assert stored(accepted)["originalTimestamp"] == "2026-11-23T12:00:00.000Z"


@pytest.mark.parametrize("sent_at", ["2026-11-23T17:00:50.000Z", "2026-11-23T16:59:10.000Z", None, "never", 5, ...])
def test_timestamp_stays_when_the_clock_of_the_client_is_right_or_unknown(sent_at: Any) -> None:
    accepted = accept(event()) if sent_at is ... else accept(event(), sentAt=sent_at)

    assert stored(accepted) == {**event(), "receivedAt": RECEIVED}


def test_timestamp_is_corrected_when_the_clock_of_the_client_is_wrong() -> None:
    accepted = accept(event(timestamp="2027-11-23T16:59:59.000Z"), sentAt="2027-11-23T17:00:00.000Z")

    assert accepted.batch.times_ms == [RECEIVED_MS - SECOND]
    assert stored(accepted)["timestamp"] == "2026-11-23T16:59:59.000Z"
    assert stored(accepted)["originalTimestamp"] == "2027-11-23T16:59:59.000Z"


def test_own_sent_at_of_an_event_counts_before_that_of_the_batch() -> None:
    accepted = accept(event(sentAt="2026-11-23T16:00:00.000Z", timestamp="2026-11-23T16:00:00.000Z"), sentAt=RECEIVED)

    assert accepted.batch.times_ms == [RECEIVED_MS]


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1960-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59-23:59", RECEIVED_MS + 24 * HOUR),
        ("2026-11-24T16:00:00Z", RECEIVED_MS + 23 * HOUR),
        ("yesterday", RECEIVED_MS),
        ("", RECEIVED_MS),
        (1_795_453_100_000, RECEIVED_MS),
        ({}, RECEIVED_MS),
    ],
)
def test_times_that_cannot_be_are_clamped_or_replaced(timestamp: object, expected: int) -> None:
    accepted = accept(event(timestamp=timestamp))

    assert accepted.batch.times_ms == [expected]
    assert read_ms(stored(accepted)["timestamp"]) == expected
    assert stored(accepted).get("originalTimestamp", timestamp) == timestamp


@pytest.mark.parametrize("text", ["2026-11-23T16:59:59", "2026-11-23T17:59:59+01:00", "20261123T165959Z"])
def test_times_without_an_offset_are_utc_and_offsets_count(text: str) -> None:
    assert accept(event(timestamp=text)).batch.times_ms == [RECEIVED_MS - SECOND]


def test_times_of_several_days_are_right() -> None:
    accepted = accept(event(), event(timestamp="2020-02-29T00:00:00.001Z"), event(timestamp="1970-01-01T00:00:00Z"))

    assert accepted.batch.times_ms == [RECEIVED_MS - SECOND, 1_582_934_400_001, 0]


@pytest.mark.parametrize("fraction", ["0009999", "9999999", "000499999", "123456789", "9999999999999"])
def test_time_finer_than_a_microsecond_is_the_same_by_every_way(fraction: str) -> None:
    fine = event(timestamp=f"2026-11-23T16:59:58.{fraction}Z")

    alone, beside_an_odd_one = accept(fine), accept(fine, event(timestamp="yesterday"))

    assert alone.batch.times_ms == beside_an_odd_one.batch.times_ms[:1] == [read_ms(fine["timestamp"])]

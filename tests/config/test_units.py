from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.units import (
    format_duration,
    format_rate,
    format_size,
    parse_duration_s,
    parse_rate_per_s,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("300ms", 0.3),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1.5s", 1.5),
        (7, 7),
        (0.25, 0.25),
        ("12", 12),
    ],
)
def test_durations_are_read_in_seconds(written: object, seconds: float) -> None:
    assert parse_duration_s(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "5 minutes", "m", "-5s", "5M", "1e3s", "5m ago", "٣s", True, None, [5], "9" * 400]
)
def test_what_is_not_a_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_s(written)


@pytest.mark.parametrize(
    ("written", "n_bytes"),
    [
        ("500KiB", 512_000),
        ("1MB", 1_000_000),
        ("1.5MiB", 1_572_864),
        ("10 kb", 10_000),
        ("9B", 9),
        (77, 77),
        ("77", 77),
    ],
)
def test_sizes_are_read_in_bytes(written: object, n_bytes: int) -> None:
    assert parse_size_bytes(written) == n_bytes


@pytest.mark.parametrize("written", ["", "KiB", "1K", "-1KB", "1 TB", 1.5, True, None, {}, "9" * 400])
def test_what_is_not_a_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size_bytes(written)


@given(st.integers(1, 10**9))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    assert parse_duration_s(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(0, 10**12))
def test_a_formatted_size_reads_back(n_bytes: int) -> None:
    assert parse_size_bytes(format_size(n_bytes)) == n_bytes


@pytest.mark.parametrize(
    ("written", "per_s"),
    [("100/s", 100), ("600/m", 10), ("1800 / h", 0.5), ("2.5/s", 2.5), ("7", 7), (7, 7), (0.5, 0.5)],
)
def test_rates_are_read_in_events_per_second(written: object, per_s: float) -> None:
    assert parse_rate_per_s(written) == pytest.approx(per_s)


@pytest.mark.parametrize("written", ["", "fast", "100/d", "/s", "-1/s", "1e3/s", True, None, [5], "1/s/s"])
def test_other_rates_are_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match="100/s"):
        parse_rate_per_s(written)


@pytest.mark.parametrize(("per_s", "text"), [(1 / 3600, "1/h"), (0.5, "1800/h"), (100.0, "100/s"), (1e6, "1000000/s")])
def test_rates_are_written_as_they_are_read(per_s: float, text: str) -> None:
    assert format_rate(per_s) == text
    assert parse_rate_per_s(text) == pytest.approx(per_s)

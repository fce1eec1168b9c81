from __future__ import annotations

import json

from sluicegate.bench.events import Workload, permitted, stamp
from sluicegate.bench.tally import Tally, percentiles_ms

WORK = Workload("run")


def _body(*numbers: int) -> bytes:
    return b'{"batch":[%s]}' % b",".join(WORK.event(number) for number in numbers)


def _tally(count: int, *, purpose: str = "measurement") -> Tally:
    return Tally("run", count, lambda number: permitted(number, purpose))


def test_complete_delivery_has_no_fault() -> None:
    tally = _tally(4)

    tally.add(_body(0, 1), 10)
    tally.add(_body(2, 3), 20)

    report = tally.report()
    assert (report.expected, report.arrived) == (4, 4)
    assert (report.lost, report.duplicates, report.unexpected) == (0, 0, 0)
    assert (report.first_ns, report.last_ns, report.requests) == (10, 20, 2)


def test_missing_event_is_reported_with_its_id() -> None:
    tally = _tally(4)

    tally.add(_body(0, 1, 3), 10)

    report = tally.report()
    assert report.lost == 1
    assert report.examples == ["lost run-00000002"]


def test_second_arrival_is_a_duplicate_and_does_not_lengthen_the_run() -> None:
    tally = _tally(2)

    tally.add(_body(0, 1), 10)
    tally.add(_body(1, 1), 99)

    report = tally.report()
    assert (report.lost, report.duplicates, report.last_ns) == (0, 2, 10)


def test_event_without_consent_is_unexpected() -> None:
    tally = _tally(2, purpose="marketing")

    tally.add(_body(0, 1), 10)

    report = tally.report()
    assert (report.expected, report.unexpected, report.lost) == (1, 1, 0)
    assert report.examples == ["unexpected run-00000001"]


def test_events_of_another_run_and_beyond_the_end_are_unexpected() -> None:
    tally = _tally(1)

    tally.add(_body(0, 1), 10)
    tally.add(Workload("other").event(0), 11)

    assert tally.report().unexpected == 2


def test_events_that_were_encoded_anew_are_still_counted() -> None:
    tally = _tally(1)

    tally.add(json.dumps(json.loads(_body(0)), indent=1).encode(), 10)

    assert tally.report().lost == 0


def test_latency_is_arrival_less_send_time() -> None:
    tally = _tally(2)

    tally.add(stamp(_body(0, 1), 1_000_000), 3_500_000)

    assert tally.report().latencies_ms == {"p50": 2.5, "p99": 2.5, "max": 2.5}


def test_unstamped_events_have_no_latency() -> None:
    tally = _tally(1)

    tally.add(_body(0), 10)

    assert tally.report().latencies_ms == {}


def test_percentiles_are_nearest_ranks() -> None:
    durations_ns = [n * 1_000_000 for n in range(101)]

    assert percentiles_ms(reversed(durations_ns)) == {"p50": 50.0, "p99": 99.0, "max": 100.0}

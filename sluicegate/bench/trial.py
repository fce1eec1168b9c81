"""One trial: a load on one system, until everything has arrived at every receiver."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import ge

import msgspec

from sluicegate.bench.events import FREE, PURPOSES, Says, Workload, n_permitted
from sluicegate.bench.generator import LoadPlan, LoadReport
from sluicegate.bench.measure import tree_cpu_s
from sluicegate.bench.processes import Helper
from sluicegate.bench.systems import System
from sluicegate.bench.tally import ReceiverReport

POLL_S = 0.02
QUIET_S = 0.25
"""Nothing is counted until nothing has come for this long: a receiver that counts takes nothing meanwhile."""
SETTLE_S = 0.2
"""CPU is read this long after the last delivery, so that its book-keeping is paid for too."""
STALL_S = 20.0
"""With no arrival for this long the rest counts as lost."""
LOAD_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a trial sends: how many events, how many to a request, at what rate (0: closed loop), to which receivers
    with what delay in milliseconds."""

    count: int
    per_request: int
    rate: float = 0.0
    connections: int = 8
    delays_ms: tuple[float, ...] = (0.0, 0.0, 0.0)
    says: Says = Says.MIXED

    @property
    def purposes(self) -> tuple[str, ...]:
        """What an event must have granted to arrive at each receiver; where nobody refuses anything all arrive."""
        return PURPOSES if self.says is Says.MIXED else tuple(FREE for _ in PURPOSES)


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one trial."""

    system: str
    run: str
    shape: Shape
    cpu_s: float
    load: LoadReport
    receivers: tuple[ReceiverReport, ...]

    @property
    def seconds(self) -> float:
        """From the first request to the last delivery at any receiver."""
        return (max(report.last_ns for report in self.receivers) - self.load.start_ns) / 1e9

    @property
    def events_per_s(self) -> float:
        """Events sent by those seconds."""
        return self.shape.count / self.seconds if self.seconds > 0 else 0.0

    @property
    def cpu_us_per_event(self) -> float:
        """CPU of all processes of the system by events sent."""
        return self.cpu_s * 1e6 / self.shape.count

    @property
    def lost(self) -> int:
        """Events that a receiver should have got and did not, over all receivers."""
        return sum(report.lost for report in self.receivers)

    @property
    def duplicates(self) -> int:
        """Arrivals beyond the first, over all receivers."""
        return sum(report.duplicates for report in self.receivers)

    @property
    def unexpected(self) -> int:
        """Arrivals that should not have been, such as without consent, over all receivers."""
        return sum(report.unexpected for report in self.receivers)

    @property
    def latencies_ms(self) -> dict[str, float]:
        """Percentiles from request to receiver, each of the receiver where it is worst."""
        return {
            rank: max(report.latencies_ms[rank] for report in self.receivers if report.latencies_ms)
            for rank in ("p50", "p99", "max")
            if any(report.latencies_ms for report in self.receivers)
        }

    def receiver_events_per_s(self, index: int) -> float:
        """Events for one receiver by the time from the first request to its own last delivery."""
        report = self.receivers[index]
        took_ns = report.last_ns - self.load.start_ns
        return report.expected * 1e9 / took_ns if took_ns > 0 else 0.0


def run_trial(system: System, receivers: Sequence[Helper], *, run: str, shape: Shape) -> Trial:
    """Send the load, wait for the deliveries, count them."""
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    workload = Workload(run, timestamp, shape.says)
    due = _due_bytes(workload, shape)
    # A quarter more for what is around the events and put into them.
    for receiver, n_bytes, delay_ms in zip(receivers, due, shape.delays_ms, strict=True):
        receiver.ask({"do": "reset", "expected_bytes": n_bytes + n_bytes // 4, "delay_ms": delay_ms})
    generator = Helper("generator")
    try:
        amount = shape.count, shape.per_request, shape.connections, shape.rate
        plan = LoadPlan("127.0.0.1", system.port, run, timestamp, *amount, shape.says)
        generator.ask(asdict(plan))
        before_s = tree_cpu_s(system.pid)
        load = msgspec.convert(generator.ask({}, timeout_s=LOAD_TIMEOUT_S), LoadReport)
    finally:
        generator.stop()
    reports = _wait_for_arrivals(receivers, workload, shape)
    time.sleep(SETTLE_S)
    return Trial(system.name, run, shape, tree_cpu_s(system.pid) - before_s, load, reports)


def _due_bytes(workload: Workload, shape: Shape) -> list[int]:
    """The bytes of the events that each receiver has to get."""
    size = len(workload.event(0))
    return [size * n_permitted(shape.count, purpose) for purpose in shape.purposes]


def _wait_for_arrivals(receivers: Sequence[Helper], workload: Workload, shape: Shape) -> tuple[ReceiverReport, ...]:
    """What the receivers have when each has every event it is due, or when nothing has come for `STALL_S`.

    Bytes are looked at first. They don't tell when all is there, since what arrives has more in and around it.
    """
    due = _due_bytes(workload, shape)
    seen: list[int] = []
    counted: list[int] = []
    changed_at = time.monotonic()
    while (quiet_s := time.monotonic() - changed_at) < STALL_S:
        arrived = [int(receiver.ask({"do": "poll"})["n_bytes"]) for receiver in receivers]
        if arrived != seen:
            seen, changed_at = arrived, time.monotonic()
        elif quiet_s > QUIET_S and arrived != counted and all(map(ge, arrived, due)):
            counted = arrived
            reports = _count(receivers, workload.run, shape)
            if not any(report.lost for report in reports):
                return reports
        time.sleep(POLL_S)
    return _count(receivers, workload.run, shape)


def _count(receivers: Sequence[Helper], run: str, shape: Shape) -> tuple[ReceiverReport, ...]:
    for receiver, purpose in zip(receivers, shape.purposes, strict=True):
        receiver.tell({"do": "count", "run": run, "count": shape.count, "purpose": purpose})
    return tuple(msgspec.convert(receiver.answer(timeout_s=300.0), ReceiverReport) for receiver in receivers)

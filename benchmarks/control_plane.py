"""How fast control messages travel: `python -m benchmarks.control_plane [--children 50] [--rate 200] [--seconds 20]`.

A source sends to a hub, which sends to its children, which answer the hub, each at the same rate: the load of a
supervisor with 50 destinations. Prints the latency of each hop, from just before `send` to the start of the
handler, and the CPU of the hub. Target: p99 below 20 ms at 200 messages a second each way.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.star import Flow, Grow, Grown, Hub, Report, Result, Source
from sluicegate.actors.system import RunningSystem, free_port, start

TARGET_P99_MS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Latency of control messages in a star of actors.")
    parser.add_argument("--children", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second each way")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    count = int(options.rate * options.seconds)
    with tempfile.TemporaryDirectory() as directory:
        system = start(port=free_port(), key=os.urandom(32), log_path=Path(directory) / "actors.log")
        try:
            result, elapsed_s = run(system, children=options.children, count=count, per_second=options.rate)
        finally:
            system.stop()
    return show(result, count=count, elapsed_s=elapsed_s, options=options)


def run(system: RunningSystem, *, children: int, count: int, per_second: float) -> tuple[Result, float]:
    """Let `count` messages flow through a new star; the hub's report, and the seconds it took."""
    hub = system.create(Hub, global_name="hub")
    source = system.create(Source, global_name="source")
    grown = system.ask(hub, Grow(children, "grow"), timeout_s=30)
    assert isinstance(grown, Grown)
    time.sleep(1.0)
    began = time.monotonic()
    system.tell(source, Flow(hub, count, per_second))
    time.sleep(count / per_second)
    for attempt in range(300):
        result = system.ask(hub, Report(f"report-{attempt}"), timeout_s=10)
        if isinstance(result, Result) and len(result.replied) >= count:
            break
        time.sleep(0.1)
    assert isinstance(result, Result)
    return result, time.monotonic() - began


def show(result: Result, *, count: int, elapsed_s: float, options: argparse.Namespace) -> int:
    """Print the figures; 0 when all messages arrived and the target is met, else 1."""
    print(f"{options.children} children, {options.rate:g} messages/s each way, {count} each way, ", end="")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    for name, latencies in hops(result).items():
        p50, p99 = (1000 * percentile(latencies, share) for share in (0.50, 0.99))
        print(f"{name:14} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  max {1000 * max(latencies):6.2f} ms")
    reordered = sum(later < earlier for earlier, later in zip(result.arrived, result.arrived[1:], strict=False))
    print(f"hub CPU        {100 * result.cpu_s / elapsed_s:.1f} % of a core ({result.cpu_s:.2f} s)")
    print(f"lost {2 * count - len(set(result.arrived)) - len(set(result.replied))}, reordered {reordered}")
    complete = sorted(result.replied) == list(range(count))
    return 0 if complete and p99_ms(result) < TARGET_P99_MS else 1


def hops(result: Result) -> dict[str, Sequence[float]]:
    """The latencies of each hop in seconds."""
    return {"source to hub": result.to_hub_s, "hub to child": result.to_child_s, "child to hub": result.to_hub_again_s}


def p99_ms(result: Result) -> float:
    """That of the slowest hop."""
    return max(1000 * percentile(latencies, 0.99) for latencies in hops(result).values())


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    sys.exit(main())

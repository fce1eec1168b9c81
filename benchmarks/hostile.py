"""What hostile requests cost those who send good ones.

    python benchmarks/hostile.py [--seconds 7] [--per-second 50] [--rounds 5]

Eight clients send batches of three events to a gateway process, each one every 10 ms, in turn without and with the
hostile corpus beside them at a fixed rate. The hostile requests come from a process of their own whose bytes are made
before; it still shares the machine, so they are sent to a second gateway too ("elsewhere"), which tells how much of the
difference is the machine's. Rounds alternate, so that what else the machine does falls on all, and each goes on in the
corpus where the last one ended: five rounds send all of it. The last lines are the medians over the rounds, and by how
much the 99th percentile with the stream differs from that without. Takes two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.hostile.process import MIB, Gateway
from tests.hostile.streams import GoodTraffic

ROOT = Path(__file__).parent.parent
CLIENTS = 8


async def send(good: list[GoodTraffic], *, seconds: float) -> None:
    ended = asyncio.Event()
    sending = [asyncio.create_task(client.run(ended)) for client in good]
    await asyncio.sleep(seconds)
    ended.set()
    await asyncio.gather(*sending)


class Sender:
    """The hostile stream to one gateway, from a process of its own."""

    def __init__(self, address: tuple[str, int], per_s: float, first: int) -> None:
        command = [sys.executable, "-m", "tests.hostile.sender", *map(str, address), str(per_s), str(first)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"

    def begin(self) -> None:
        """Send from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def end(self) -> Counter[int]:
        """Send no more, and wait for the last answers; how many there were of each status."""
        told, _ = self._process.communicate(timeout=60)
        found = json.loads(told)
        if found["wrong"]:
            print(f"wrong answers: {found['wrong'][:3]}")
        return Counter({int(status): n for status, n in found["statuses"].items()})


def measure(
    gateway: Gateway, target: Gateway | None, *, seconds: float, per_s: float, first: int
) -> tuple[list[float], Counter[int]]:
    """Latencies of the good traffic in ms, sorted, and the statuses of the hostile requests that went to `target`."""
    good = [GoodTraffic(gateway.address, f"good-{number}") for number in range(CLIENTS)]
    hostile = None if target is None else Sender(target.address, per_s, first)
    if hostile is not None:
        hostile.begin()
    asyncio.run(send(good, seconds=seconds))
    statuses = Counter[int]() if hostile is None else hostile.end()
    return sorted(one * 1e3 for client in good for one in client.latencies_s), statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=7.0)
    parser.add_argument("--per-second", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        gateways = []
        for name in ("good", "elsewhere"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"hostile-{name}-")))
            gateways.append(Gateway(folder, has_ledger=True, head_timeout_s=5.0, body_grace_s=3.0, linger_s=0.5))
            stack.callback(gateways[-1].close)
        gateway, elsewhere = gateways
        p99s: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            first = int(number * options.seconds * options.per_second)
            for name, target in (("alone", None), ("elsewhere", elsewhere), ("hostile", gateway)):
                found, statuses = measure(
                    gateway, target, seconds=options.seconds, per_s=options.per_second, first=first
                )
                p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
                p99s[name].append(p99)
                told = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
                print(
                    f"{name:<10} {len(found):6} requests  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms"
                    f"  RSS {gateway.rss_bytes / MIB:5.1f} MiB  fds {gateway.n_fds}  {told}"
                )
        summarize(p99s)


def summarize(p99s: dict[str, list[float]]) -> None:
    """The medians over the rounds, and what they come to."""
    medians = {name: statistics.median(found) for name, found in p99s.items()}
    for name, p99 in medians.items():
        print(f"{name:<10} p99 {p99:6.2f} ms, the median of {len(p99s[name])} rounds")
    for name in ("elsewhere", "alone"):
        print(f"hostile / {name}: {medians['hostile'] / medians[name]:.2f}")


if __name__ == "__main__":
    main()

"""Counting, after a run, what arrived against what had to arrive."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_EVENT = re.compile(rb'"messageId"\s*:\s*"([^"]*)"(?:\s*,\s*"properties"\s*:\s*\{\s*"sent_ns"\s*:\s*"(\d{19})")?')
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What one receiver got in one run; times in nanoseconds of the monotonic clock.

    `lost` had to arrive and did not, `duplicates` are arrivals beyond the first of an id, `unexpected` are ids that had
    no business here: of another run, unknown, or of events without consent for this destination. `last_ns` is the first
    arrival of the id that came last, so duplicates don't lengthen a run.
    """

    expected: int
    arrived: int
    lost: int
    duplicates: int
    unexpected: int
    requests: int
    n_bytes: int
    first_ns: int
    last_ns: int
    examples: list[str] = field(default_factory=list)
    latencies_ms: dict[str, float] = field(default_factory=dict)


class Tally:
    """Counts the ids of one run at one destination.

    `count` is the number of events sent, `expects(number)` whether event `number` had to arrive.
    """

    def __init__(self, run: str, count: int, expects: Callable[[int], bool]) -> None:
        self._prefix = f"{run}-".encode()
        self._expected = bytes(expects(number) for number in range(count))
        self._seen = bytearray(count)
        self._duplicates = 0
        self._unexpected = 0
        self._requests = 0
        self._n_bytes = 0
        self._first_ns = 0
        self._last_ns = 0
        self._strays: list[str] = []
        self.latencies_ns = array("q")

    def add(self, body: bytes, arrival_ns: int) -> None:
        """Count the events of one request."""
        self._requests += 1
        self._n_bytes += len(body)
        self._first_ns = self._first_ns or arrival_ns
        for message_id, sent in _EVENT.findall(body):
            number = self._number(message_id)
            if number is None or not self._expected[number]:
                self._stray(message_id)
            elif self._seen[number]:
                self._duplicates += 1
            else:
                self._seen[number] = 1
                self._last_ns = max(self._last_ns, arrival_ns)
                if sent and (sent_ns := int(sent)):
                    self.latencies_ns.append(arrival_ns - sent_ns)

    def report(self) -> ReceiverReport:
        """The result."""
        lost = [n for n, due in enumerate(self._expected) if due and not self._seen[n]]
        prefix = self._prefix.decode()
        examples = [f"lost {prefix}{number:08d}" for number in lost[:_EXAMPLES]]
        return ReceiverReport(
            expected=sum(self._expected),
            arrived=sum(self._seen),
            lost=len(lost),
            duplicates=self._duplicates,
            unexpected=self._unexpected,
            requests=self._requests,
            n_bytes=self._n_bytes,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            examples=examples + self._strays,
            latencies_ms=percentiles_ms(self.latencies_ns),
        )

    def _number(self, message_id: bytes) -> int | None:
        digits = message_id[len(self._prefix) :]
        if not message_id.startswith(self._prefix) or not digits.isdigit() or int(digits) >= len(self._seen):
            return None
        return int(digits)

    def _stray(self, message_id: bytes) -> None:
        self._unexpected += 1
        if len(self._strays) < _EXAMPLES:
            self._strays.append(f"unexpected {message_id.decode(errors='replace')}")


def percentiles_ms(durations_ns: Iterable[int]) -> dict[str, float]:
    """The 50th, 99th and 100th percentile in milliseconds (nearest rank); empty for no durations."""
    ordered = sorted(durations_ns)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {name: ordered[round(last * rank)] / 1e6 for name, rank in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}

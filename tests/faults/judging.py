"""I5, I6, I7, I8 and I10: judged by what was seen from outside while a scenario ran. The numbers have their reasons in
docs/faults.md."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from tests.faults import evidence
from tests.faults.books import Sighting, breaker_open_s
from tests.faults.canaries import leaks_in, leaks_in_files, leaks_in_texts
from tests.faults.checker import Checker
from tests.faults.signals import Part

Span = tuple[float, float]
"""From one moment to another, in Unix time."""
Channel = Literal["status", "metrics"]
CHANNELS: tuple[Channel, ...] = ("status", "metrics")

SETTLE_S = 60.0
"""From the heal until fresh events have gone through and nothing waits, without the time of an open breaker."""
TRUTH_S = 5.0
"""What was acknowledged before that is in every answer about the accounts."""
SILENCE_S = 15.0
"""The longest time without an answer, outside of faults that stop who answers: three times what is specified."""
FACTOR = 3.0
MEDIAN_SLACK_S, P99_SLACK_S = 0.5, 3.0
"""A destination without a fault may take three times what it took before the fault, and so much more."""
MIN_BEFORE, MIN_DURING = 30, 10
"""Events without which neither can be told."""
MAX_RSS_BYTES = 2 * 1024**3
MAX_FDS = 2_000
"""Of one process at any time; the gateway has one for each of up to 1,000 clients of a scenario."""
MAX_FDS_AT_REST = 200
"""Of one process when everything is settled: none is left behind."""


@dataclass(slots=True)
class Settling:
    """How it went after the heal, in seconds from `healed_at` (Unix time) on."""

    healed_at: float
    fresh_s: float = 0.0
    settled_s: float = 0.0
    allowed_s: float = SETTLE_S


@dataclass(slots=True)
class Resources:
    """The most that was seen of a system's processes."""

    rss_bytes: int = 0
    fds: int = 0
    fds_at_rest: int = 0
    orphans: Sequence[Part] = ()


@dataclass(slots=True)
class Observed:
    """What was seen of a system from outside; `down` are the times in which a fault stopped who answers."""

    folder: Path
    watched: Span
    statuses: Sequence[Sighting]
    metrics: Sequence[Sighting]
    settling: Settling
    said: frozenset[str] = frozenset()
    resources: Resources = field(default_factory=Resources)
    down: Sequence[tuple[Channel, Span]] = ()
    before: Span | None = None
    """When there was no fault yet, and everything was loaded."""
    during: Span | None = None
    """From the fault to the heal."""

    def sightings(self, channel: Channel) -> Sequence[Sighting]:
        """The answers that came this way."""
        return self.statuses if channel == "status" else self.metrics

    def silence_s(self, channel: Channel) -> float:
        """The longest time without an answer, as far as no fault stopped who answers."""
        down = [span for name, span in self.down if name == channel]
        moments = [self.watched[0], *(one.answered_at for one in self.sightings(channel)), self.watched[1]]
        return max(max(0.0, end - start - _overlap_s((start, end), down)) for start, end in pairwise(moments))

    @property
    def breaker_open_s(self) -> float:
        """For how long after the heal a circuit breaker was open."""
        return breaker_open_s(self.statuses, since=self.settling.healed_at)


def _overlap_s(span: Span, others: Sequence[Span]) -> float:
    """What the others cover of it; where they overlap each other they count once."""
    covered_s, at = 0.0, span[0]
    for start, end in sorted(others):
        start, end = max(start, at), min(end, span[1])
        if end > start:
            covered_s, at = covered_s + end - start, end
    return covered_s


def problems_of(checker: Checker, seen: Observed, *, healthy: str | None) -> Iterator[str]:
    """Everything that does not hold; each text begins with the invariant."""
    if healthy is not None:
        yield from _isolation(checker, seen, healthy)
    yield from _settling(seen)
    yield from _resources(seen.resources)
    for channel in CHANNELS:
        yield from _truth(checker, seen, channel, healthy)
        if (silence_s := seen.silence_s(channel)) > SILENCE_S:
            yield f"I8: for {silence_s:.1f} s there was no answer about the {channel}"
        if not seen.sightings(channel):
            yield f"vacuous: nothing was seen of the {channel}"
    yield from _agreement(seen)
    yield from leaks_in_files(seen.folder)
    yield from leaks_in_texts(seen.said)
    for payload in evidence.log_payloads(checker.data_dir):
        yield from leaks_in("the event log", payload)


# -- I5 ---------------------------------------------------------------------------------------------------------------


def _isolation(checker: Checker, seen: Observed, healthy: str) -> Iterator[str]:
    if seen.before is None or seen.during is None:
        yield f"vacuous: nobody knows how fast {healthy} was without the fault"
        return
    taken = {when: checker.delays_s(healthy, between=when) for when in (seen.before, seen.during)}
    answered = {when: checker.answers_s(between=when) for when in (seen.before, seen.during)}
    for what, delays in ((healthy, taken), ("the gateway", answered)):
        before, during = delays[seen.before], delays[seen.during]
        if len(before) < MIN_BEFORE or len(during) < MIN_DURING:
            yield f"vacuous: {what} had {len(before)} events before and {len(during)} during the fault"
            continue
        for share, slack_s in ((0.5, MEDIAN_SLACK_S), (0.99, P99_SLACK_S)):
            was_s, is_s = quantile(before, share), quantile(during, share)
            if is_s > FACTOR * was_s + slack_s:
                yield f"I5: {what} had no fault and took {is_s:.3f} s (p{share * 100:.0f}), {was_s:.3f} s before it"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of sorted values lies."""
    return ordered[int(share * len(ordered))]


# -- I6, I7 -----------------------------------------------------------------------------------------------------------


def _settling(seen: Observed) -> Iterator[str]:
    settling, open_s = seen.settling, seen.breaker_open_s
    if settling.fresh_s > settling.allowed_s:
        yield f"I6: fresh events were acknowledged {settling.fresh_s:.1f} s after the heal"
    if settling.settled_s - open_s > settling.allowed_s:
        yield (
            f"I6: nothing waited any more {settling.settled_s:.1f} s after the heal, "
            f"in {open_s:.1f} s of which a circuit breaker was open; {settling.allowed_s:.0f} s are allowed"
        )


def _resources(found: Resources) -> Iterator[str]:
    if found.rss_bytes > MAX_RSS_BYTES:
        yield f"I7: the processes took {found.rss_bytes} bytes of memory"
    if found.fds > MAX_FDS:
        yield f"I7: a process had {found.fds} open files"
    if found.fds_at_rest > MAX_FDS_AT_REST:
        yield f"I7: a process still had {found.fds_at_rest} open files in the end"
    if found.orphans:
        yield f"I7: processes outlived the system: {found.orphans}"


# -- I8 ---------------------------------------------------------------------------------------------------------------


def _truth(checker: Checker, seen: Observed, channel: Channel, healthy: str | None) -> Iterator[str]:
    """The first answer that is behind what was promised or done `TRUTH_S` before, or ahead of what was done."""
    down = [span for _, span in seen.down]
    for name, store in checker.stores.items():
        if store is None:
            continue
        acked, taken, once = sorted(checker.issued.acked.values()), checker.taken_at(name), checker.taken_once_at(name)
        for one in seen.sightings(channel):
            if (counts := one.of.get(name)) is None:
                continue
            due = one.asked_at - TRUTH_S
            if _overlap_s((due, one.answered_at), down):
                continue
            if counts.accepted + store.start < (n := bisect_right(acked, due)):
                yield f"I8: the {channel} of {name} has {counts} when {n} were acknowledged {TRUTH_S} s before"
                break
            if taken and counts.delivered > (n := bisect_right(taken, one.answered_at)):
                yield f"I8: the {channel} of {name} has {counts} when it had taken {n}"
                break
            if name == healthy and counts.delivered < (n := bisect_right(once, due)):
                yield f"I8: the {channel} of {name} has {counts} when it had taken {n} {TRUTH_S} s before"
                break


def _agreement(seen: Observed) -> Iterator[str]:
    """In the end the metrics say what the status says."""
    if not seen.statuses or not seen.metrics:
        return
    last, scraped = seen.statuses[-1].of, seen.metrics[-1].of
    for name, counts in last.items():
        if name not in scraped or scraped[name].told != counts.told:
            yield f"I8: in the end the status of {name} has {counts}, the metrics have {scraped.get(name)}"


# -- figures ----------------------------------------------------------------------------------------------------------


def figures_of(checker: Checker, seen: Observed) -> dict[str, float]:
    """What the record keeps of it."""
    figures: dict[str, float] = {
        "fresh_acknowledged_s": round(seen.settling.fresh_s, 3),
        "max_rss_mb": round(seen.resources.rss_bytes / 1e6, 1),
        "max_fds": seen.resources.fds,
    }
    if open_s := seen.breaker_open_s:
        figures["breaker_open_s"] = round(open_s, 1)
    for channel in CHANNELS:
        figures[f"{channel}_seen"] = len(seen.sightings(channel))
        figures[f"{channel}_silent_s"] = round(seen.silence_s(channel), 3)
    for name in checker.places:
        if delays := checker.delays_s(name):
            figures[f"{name}_p99_s"] = round(quantile(delays, 0.99), 3)
        for when, span in (("before", seen.before), ("during", seen.during)):
            if span is not None and seen.before is not None and (delays := checker.delays_s(name, between=span)):
                figures[f"{name}_{when}_median_s"] = round(quantile(delays, 0.5), 3)
                figures[f"{name}_{when}_p99_s"] = round(quantile(delays, 0.99), 3)
    return figures

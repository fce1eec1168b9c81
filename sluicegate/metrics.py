"""What the gateway counts, and how Prometheus reads it.

Counting is on the path of every request, so it is plain arithmetic on plain attributes; the library's own counters take
a lock each. A collector turns the numbers into metrics when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from sluicegate.messages.status import DestinationStatus, Statuses

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
COMMIT_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)
ACCOUNTS = ("accepted", "delivered", "pending", "held", "dead", "denied", "expired")
"""accepted is always the sum of the others."""


@dataclass(slots=True)
class Histogram:
    """Values sorted into buckets by their upper bounds."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """The histogram as Prometheus wants it: cumulative, with a last bucket for everything."""
        buckets, seen = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            seen += count
            buckets.append((bound, seen))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self.total)


@dataclass(slots=True)
class ConsentCounts:
    """What came in about consent since the process began; plain numbers, because counting is on the path of events."""

    malformed: int = 0
    """Values and objects on accepted events that could not be read."""
    conflicts: int = 0
    """Events that grant what stays denied, because it was refused explicitly."""
    written: Counter[str] = field(default_factory=Counter)
    """Pieces of evidence given to the ledger, by kind."""
    unwritten: int = 0
    """Requests whose evidence the ledger could not take, or that could not be compared with it."""


@dataclass(slots=True)
class GatewayMetrics:
    """The gateway's counts since its process began, and what of the data directory it has looked up."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    accepted: int = 0
    duplicates: int = 0
    known_ids: int = 0
    dedup_window_s: float = 0.0
    disk_free_bytes: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    consent: ConsentCounts = field(default_factory=ConsentCounts)
    suppressed: Mapping[str, int] = field(default_factory=dict)
    """Events of suppressed people that were left out since there is this data directory, by the way they came."""
    failed_commits: int = 0
    refused_connections: int = 0
    commit_events: Histogram = field(default_factory=lambda: Histogram(COMMIT_EVENTS))
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_SECONDS))

    def count_request(self, path: str, status: int) -> None:
        """Count one answer; `path` is a route's, never the client's, which would make labels without end."""
        self.requests[path, status] += 1


class GatewayCollector:
    """The gateway's counts as metrics."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        metrics = self._metrics
        requests = CounterMetricFamily(
            "sluicegate_http_requests", "Requests answered, by path and status.", labels=("path", "status")
        )
        for (path, status), count in sorted(metrics.requests.items()):
            requests.add_metric((path, str(status)), count)
        yield requests
        yield CounterMetricFamily(
            "sluicegate_events_accepted", "Events that are in the log and were answered with 200.", metrics.accepted
        )
        yield from _duplicates(metrics)
        yield GaugeMetricFamily(
            "sluicegate_disk_free_bytes", "Free space where the event log is.", metrics.disk_free_bytes
        )
        rejected = CounterMetricFamily(
            "sluicegate_events_rejected", "Events refused at the door, by reason.", labels=("reason",)
        )
        for reason, count in sorted(metrics.rejected.items()):
            rejected.add_metric((reason,), count)
        yield rejected
        suppressed = CounterMetricFamily(
            "sluicegate_events_suppressed", "Events of suppressed people, answered and left out.", labels=("way",)
        )
        for way, count in metrics.suppressed.items():
            suppressed.add_metric((way,), count)
        yield suppressed
        yield from _consent(metrics.consent)
        yield CounterMetricFamily(
            "sluicegate_connections_refused", "Connections beyond the limit.", metrics.refused_connections
        )
        yield CounterMetricFamily(
            "sluicegate_commit_failures", "Requests whose append to the log failed.", metrics.failed_commits
        )
        yield metrics.commit_events.family("sluicegate_commit_events", "Events per group commit.")
        yield metrics.commit_seconds.family(
            "sluicegate_commit_seconds", "From the receipt of a commit's first request until it was on disk."
        )


def _consent(counts: ConsentCounts) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "sluicegate_consent_malformed",
        "Values and objects about consent that could not be read; no purpose was granted by them.",
        counts.malformed,
    )
    yield CounterMetricFamily(
        "sluicegate_consent_conflict",
        "Events that grant a purpose which stays denied, because it was refused explicitly.",
        counts.conflicts,
    )
    written = CounterMetricFamily(
        "sluicegate_consent_writes", "Pieces of evidence given to the consent ledger, by kind.", labels=("evidence",)
    )
    for evidence, count in sorted(counts.written.items()):
        written.add_metric((evidence,), count)
    yield written
    yield CounterMetricFamily(
        "sluicegate_consent_write_failures",
        "Requests whose evidence the consent ledger could not take; their events carry it themselves.",
        counts.unwritten,
    )


def _duplicates(metrics: GatewayMetrics) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "sluicegate_events_duplicate",
        "Events that came again, were answered with 200 and left out.",
        metrics.duplicates,
    )
    yield GaugeMetricFamily(
        "sluicegate_dedup_ids", "Message ids that are remembered to recognise duplicates.", metrics.known_ids
    )
    yield GaugeMetricFamily(
        "sluicegate_dedup_window_seconds",
        "How far back duplicates are recognised: less than configured when there were too many ids, 0 when off.",
        metrics.dedup_window_s,
    )


class DestinationCollector:
    """The accounts and states of the destinations, as last told by the supervisor."""

    def __init__(self, statuses: Statuses | None) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        yield GaugeMetricFamily(
            "sluicegate_supervisor_up",
            "Whether the supervisor answered; without it the destinations are missing here.",
            0 if self._statuses is None else 1,
        )
        if self._statuses is not None:
            yield from _accounts(self._statuses.destinations)
            yield from _states(self._statuses)


def _accounts(destinations: Sequence[DestinationStatus]) -> Iterator[Metric]:
    events = GaugeMetricFamily(
        "sluicegate_destination_events",
        "Events of a destination by account; accepted is the sum of the others at every moment.",
        labels=("destination", "account"),
    )
    denied = GaugeMetricFamily(
        "sluicegate_destination_denied", "Events that were denied, by reason.", labels=("destination", "reason")
    )
    expired = GaugeMetricFamily(
        "sluicegate_destination_expired",
        "Events that expired for another reason than retention, by reason.",
        labels=("destination", "reason"),
    )
    redacted = GaugeMetricFamily(
        "sluicegate_destination_redacted",
        "Delivered events that went without the person in them, because consent was refused.",
        labels=("destination",),
    )
    for status in destinations:
        redacted.add_metric((status.id,), status.redacted)
        for account in ACCOUNTS:
            events.add_metric((status.id, account), getattr(status, account))
        for reason, count in sorted((status.denied_by or {}).items()):
            denied.add_metric((status.id, reason), count)
        for reason, count in sorted((status.expired_by or {}).items()):
            expired.add_metric((status.id, reason), count)
    yield events
    yield denied
    yield expired
    yield redacted


def _states(statuses: Statuses) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "sluicegate_destination_state", "1 for the state that a destination is in.", labels=("destination", "state")
    )
    lag = GaugeMetricFamily(
        "sluicegate_destination_lag_seconds", "Age of the oldest event that waits.", labels=("destination",)
    )
    breaker = GaugeMetricFamily(
        "sluicegate_destination_breaker",
        "1 for the state that the circuit breaker of a loaded destination is in.",
        labels=("destination", "state"),
    )
    unknown = GaugeMetricFamily(
        "sluicegate_destination_unknown_outcomes",
        "Calls of a destination's process whose request went out and that got no answer.",
        labels=("destination",),
    )
    unenforced = GaugeMetricFamily(
        "sluicegate_destination_delivered_unenforced",
        "Events that a destination's process delivered although nobody said anything about consent.",
        labels=("destination",),
    )
    for status in statuses.destinations:
        unenforced.add_metric((status.id,), status.delivered_unenforced)
        state.add_metric((status.id, status.state), 1)
        unknown.add_metric((status.id,), status.unknown_outcomes)
        if status.breaker is not None:
            breaker.add_metric((status.id, status.breaker), 1)
        lag.add_metric((status.id,), status.lag_seconds)
    yield state
    yield lag
    yield breaker
    yield unknown
    yield unenforced
    counts = GaugeMetricFamily("sluicegate_destinations", "Destinations by condition.", labels=("condition",))
    for condition in ("registered", "loaded", "loading", "failed", "cached"):
        counts.add_metric((condition,), getattr(statuses.stats, condition))
    yield counts
    evicted = CounterMetricFamily(
        "sluicegate_destinations_evicted",
        "Idle destinations that were ended before their time, by reason.",
        labels=("reason",),
    )
    evicted.add_metric(("memory",), statuses.stats.evicted_for_memory)
    yield evicted


def render(gateway: GatewayMetrics, statuses: Statuses | None) -> bytes:
    """All metrics in Prometheus' text format; `statuses` is None when the supervisor did not answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GatewayCollector(gateway))
    registry.register(DestinationCollector(statuses))
    return generate_latest(registry)

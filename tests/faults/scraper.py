"""Scrapes the gateway's metrics during the whole of a scenario, as Prometheus would, only oftener."""

from __future__ import annotations

import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.faults.books import Books, Counts, Sighting
from tests.faults.canaries import leaks_in
from tests.faults.signals import Part, below

SCRAPE_S = 0.4
ASK_S = 3.0
"""The gateway waits two seconds for the supervisor."""


class Scraper:
    """A thread that reads /metrics; `books` has the accounts of the destinations, `problems` what must never be."""

    def __init__(self, port: int, launcher: Callable[[], int]) -> None:
        self.books = Books("metrics")
        self.problems: list[str] = []
        self._port = port
        self._launcher = launcher
        self._gateway: Part | None = None
        self._accepted = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Scrape no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SCRAPE_S):
            gateway, asked_at = self._find_gateway(), time.time()
            try:
                text = self._read()
            except (OSError, http.client.HTTPException):  # what is down answers nothing; for how long is judged later
                continue
            try:
                self._take(text, gateway, asked_at)
            except (KeyError, ValueError, TypeError) as error:
                self.problems.append(f"I8: metrics that cannot be read ({error!r}): {text[:200]}")

    def _take(self, text: str, gateway: Part | None, asked_at: float) -> None:
        self.problems += leaks_in("the metrics", text.encode())
        found = parse(text)
        if gateway is not None and gateway.alive:
            self._check_total(gateway, found["sluicegate_events_accepted_total"][()])
        if found["sluicegate_supervisor_up"][()]:
            self.books.enter(Sighting(asked_at, time.time(), dict(counts(found))))

    def _read(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ASK_S)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise http.client.HTTPException(f"answered {answer.status}")
            return text
        finally:
            connection.close()

    def _find_gateway(self) -> Part | None:
        if self._gateway is not None and self._gateway.alive:
            return self._gateway
        parts = [part for part in below(self._launcher()) if part.role == "gateway"]
        return parts[0] if len(parts) == 1 else None

    def _check_total(self, gateway: Part, accepted: float) -> None:
        """What a gateway has accepted since its process began never falls."""
        if gateway is self._gateway and accepted < self._accepted:
            self.problems.append(f"I8: the events accepted by one process fell from {self._accepted} to {accepted}")
        self._gateway, self._accepted = gateway, accepted


Found = Mapping[str, Mapping[tuple[str, ...], float]]


def parse(text: str) -> Found:
    """All samples by name and by the values of their labels, the destination's first."""
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names = sorted(sample.labels, key=lambda name: (name != "destination", name))
            found[sample.name][tuple(sample.labels[name] for name in names)] = sample.value
    return found


def counts(found: Found) -> Iterator[tuple[str, Counts]]:
    """The accounts of each destination."""
    by_id: dict[str, dict[str, Any]] = defaultdict(lambda: {"denied_by": {}, "state": ""})
    for (id_, account), value in found.get("sluicegate_destination_events", {}).items():
        by_id[id_][account] = int(value)
    for (id_, reason), value in found.get("sluicegate_destination_denied", {}).items():
        by_id[id_]["denied_by"][reason] = int(value)
    for (id_, state), value in found.get("sluicegate_destination_state", {}).items():
        by_id[id_]["state"] = state if value else by_id[id_]["state"]
    for id_, own in by_id.items():
        yield id_, Counts(**own)

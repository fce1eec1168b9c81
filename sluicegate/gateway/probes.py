"""`/health`, `/ready` and `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from sluicegate.gateway.answer import Answer, refusal
from sluicegate.gateway.exchange import Exchange
from sluicegate.gateway.readiness import Readiness
from sluicegate.gateway.routes import Route
from sluicegate.messages.status import Statuses
from sluicegate.metrics import GatewayMetrics, render

StatusProvider = Callable[[], Statuses | None]
"""Asks the supervisor; blocks, in a thread, and returns None when it does not answer."""

STATUS_TIMEOUT_S = 2.0
STATUS_CACHE_S = 1.0

_ALIVE = Answer(200, b'{"status":"ok"}')
_READY = Answer(200, b'{"ready":true}')


class Probes:
    """Handlers that say how the system does; none of them blocks the loop."""

    def __init__(
        self,
        readiness: Readiness,
        metrics: GatewayMetrics,
        *,
        status_provider: StatusProvider,
        clock: Callable[[], float],
        status_timeout_s: float = STATUS_TIMEOUT_S,
    ) -> None:
        self._readiness = readiness
        self._metrics = metrics
        self._provider = status_provider
        self._clock = clock
        self._status_timeout_s = status_timeout_s
        # One thread asks and another renders, so that a supervisor that hangs holds up no scrape.
        self._asker = ThreadPoolExecutor(1, "status")
        self._renderer = ThreadPoolExecutor(1, "metrics")
        self._asking: asyncio.Future[Statuses | None] | None = None
        self._statuses: Statuses | None = None
        self._asked_at = float("-inf")
        self._scrapes: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/health", b"GET", self.health, at_once=True),
            Route("/ready", b"GET", self.ready, at_once=True),
            Route("/metrics", b"GET", self.metrics),
        ]

    def health(self, exchange: Exchange) -> None:
        """200 as long as the process can answer at all."""
        exchange.reply(_ALIVE)

    def ready(self, exchange: Exchange) -> None:
        """200 when events are taken and delivered, else 503 with the reasons."""
        reasons = self._readiness.reasons(self._clock())
        if not reasons:
            exchange.reply(_READY)
            return
        body = {
            "success": False,
            "code": "not_ready",
            "message": "; ".join(reasons),
            "ready": False,
            "reasons": reasons,
        }
        exchange.reply(Answer(503, msgspec.json.encode(body), headers=((b"Retry-After", b"1"),)))

    def metrics(self, exchange: Exchange) -> None:
        """The metrics, with those of the destinations if the supervisor answers in time."""
        scrape = asyncio.get_running_loop().create_task(self._scrape(exchange))
        self._scrapes.add(scrape)
        scrape.add_done_callback(self._scrapes.discard)

    async def _scrape(self, exchange: Exchange) -> None:
        try:
            statuses = await self._ask()
            loop = asyncio.get_running_loop()
            text = await loop.run_in_executor(self._renderer, render, self._metrics, statuses)
        except Exception as error:
            exchange.reply(refusal(500, "no_metrics", f"the metrics cannot be shown: {type(error).__name__}"))
            raise
        exchange.reply(Answer(200, text, CONTENT_TYPE_LATEST.encode()))

    async def _ask(self) -> Statuses | None:
        """The statuses, at most a second old; None when the supervisor is silent. Asks once for all that wait."""
        if self._clock() < self._asked_at + STATUS_CACHE_S:
            return self._statuses
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._asker, self._provider)
            self._asking.add_done_callback(self._answered)
        done, _ = await asyncio.wait([self._asking], timeout=self._status_timeout_s)
        return self._statuses if done else None

    def _answered(self, asking: asyncio.Future[Statuses | None]) -> None:
        failed = asking.cancelled() or asking.exception() is not None
        self._statuses = None if failed else asking.result()
        self._asked_at = self._clock()

    def close(self) -> None:
        """Stop answering scrapes; a question that hangs is left to itself."""
        for scrape in self._scrapes:
            scrape.cancel()
        self._asker.shutdown(wait=False, cancel_futures=True)
        self._renderer.shutdown(wait=False, cancel_futures=True)

"""Base of destinations that post JSON to a vendor's web API.

A type says what to send, `plan`, and what an answer means, `judge`; both are pure, so that `sluicegate simulate` shows
what a delivery would send. Everything else is here: connections, compression, what follows from one request of several
failing. Requests go over `HttpConnection`: its time limit holds for the whole exchange and it connects to no private
address unless it may.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sluicegate.destinations.answers import outcome_of
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.connections import Connections
from sluicegate.destinations.http import Answer, Origin
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import JSON, Numbered, Plan, Request
from sluicegate.errors import DestinationError, Rejected, Retry
from sluicegate.version import __version__

Verdict = Outcome | DestinationError | None
"""None: the vendor has all of the request. An outcome names events by their index in the batch."""
LONGEST_SHARE = 0.8
"""After this part of the time for a call no further request begins: the events that are left go in the next call."""


class VendorDestination(Destination):
    """Plans, sends and judges; subclasses implement `plan`, and `judge` where the vendor has rules."""

    def __init__(self, settings: Any, context: Context) -> None:
        super().__init__(settings, context)
        self._connections = Connections(context.network)

    @property
    def base_url(self) -> str:
        """Where the vendor's API is: the setting `url`, which every type has."""
        url: str = self.settings.url
        return url.rstrip("/")

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """The requests for these events, at a time in Unix ms; pure."""
        raise NotImplementedError("a type implements plan, or preview")

    def judge(self, answer: Answer, request: Request) -> Verdict:
        """What an answer means; pure. By the status alone unless a type knows more."""
        return outcome_of(answer, urlsplit(request.url).hostname or "")

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """What `deliver` would send at this time; types that need no decoded events override this and not `plan`."""
        return self.plan([Numbered(index, one.json(), one.message_id) for index, one in enumerate(batch)], now_ms)

    def test(self) -> None:
        """Connect, TLS included, and send nothing."""
        self._connections.test(Origin.of(urlsplit(self.base_url)))

    def deliver(self, batch: Batch) -> Outcome | None:
        """Send the requests one after the other, up to the first that fails."""
        plan = self.preview(batch, time.time_ns() // 1_000_000)
        deadline = time.monotonic() + self.context.timeout_s
        latest = deadline - (1 - LONGEST_SHARE) * self.context.timeout_s
        done = Done(plan)
        for number, request in enumerate(plan.requests):
            if number and time.monotonic() > latest:
                return done.stopped(plan.requests[number:], None)
            verdict = _by_index(self._send(request, deadline - time.monotonic()), request)
            if isinstance(verdict, DestinationError):
                return done.stopped(plan.requests[number:], verdict)
            if verdict is not None:
                done.add(verdict)
                if verdict.again:
                    return done.stopped(plan.requests[number + 1 :], None)
        return done.outcome()

    def destroy(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _send(self, request: Request, timeout_s: float) -> Verdict:
        try:
            answer = self._connections.exchange(
                Origin.of(urlsplit(request.url)), wire_form(request), timeout_s=timeout_s
            )
        except Retry as error:
            return error
        return self.judge(answer, request)


class Done:
    """How a batch has gone so far."""

    def __init__(self, plan: Plan) -> None:
        self._n_events = len({*plan.rejected, *plan.skipped}.union(*(one.indices for one in plan.requests)))
        self._so_far = Outcome(plan.rejected, plan.skipped)

    def add(self, outcome: Outcome) -> None:
        """What became of the events of one request."""
        self._so_far = replace(
            outcome,
            rejected={**self._so_far.rejected, **outcome.rejected},
            skipped={**self._so_far.skipped, **outcome.skipped},
            again=self._so_far.again | outcome.again,
        )

    def outcome(self) -> Outcome | None:
        """The outcome of it all; None when everything is delivered."""
        done = self._so_far
        # The records of one event may be in two requests.
        done = replace(done, again=done.again.difference(done.rejected, done.skipped))
        return done if done.rejected or done.skipped or done.again else None

    def stopped(self, rest: Sequence[Request], why: DestinationError | None) -> Outcome | None:
        """The outcome when the events of `rest` are left; raises `why` when no event is done with.

        What the vendor said to the request as a whole, and not for a time only, it says again to the next call, which
        begins with it: then it is raised.
        """
        again = frozenset(index for request in rest for index in request.indices)
        if why is not None and len(again) == self._n_events:
            raise why
        if isinstance(why, Retry):
            asked = str(why), why.after_s, why.outcome_unknown, why.status, why.response
            self.add(Outcome({}, {}, again, *asked))
        else:
            self._so_far = replace(self._so_far, again=self._so_far.again | again)
        return self.outcome()


def _by_index(verdict: Verdict, request: Request) -> Verdict:
    """The verdict, with the event named when it is about the only one of its request."""
    if isinstance(verdict, Rejected) and isinstance(verdict.reasons, str) and len(set(request.indices)) == 1:
        rejected = {request.indices[0]: verdict.reasons}
        return Outcome(rejected, status=verdict.status, response=verdict.response)
    return verdict


def wire_form(request: Request) -> bytes:
    """The bytes of a request."""
    url = urlsplit(request.url)
    body = gzip.compress(request.body, 6, mtime=0) if request.gzip else request.body
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {**headers_of(request), "Host": Origin.of(url).header, "Content-Length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def headers_of(request: Request) -> dict[str, str]:
    """The headers of a request, without those that only its way asks for."""
    headers = {"Content-Type": JSON, "User-Agent": f"sluicegate/{__version__}", "Accept-Encoding": "identity"}
    if request.gzip:
        headers["Content-Encoding"] = "gzip"
    return {**headers, **request.headers}

"""From a request's body to the event log, and from the log's word to the answer."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from sluicegate.acceptance import Acceptance, Acceptor, Rejection, write_key_of
from sluicegate.acceptance.ways import Signals
from sluicegate.errors import BodyRefused, LogError
from sluicegate.event import EventBatch
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.space import FreeSpace
from sluicegate.gateway.answer import Answer, accepted, refusal, unavailable
from sluicegate.gateway.auth import (
    KEY_MEMBER,
    WriteKeys,
    key_of_authorization,
    key_of_write_key_header,
    without_key,
)
from sluicegate.gateway.compression import MAGIC, plain_body
from sluicegate.gateway.exchange import Answered, Exchange, fail, reply_all
from sluicegate.gateway.ip_policy import IpPolicy, apply_ip_policy
from sluicegate.gateway.jitsu import lacks_subject, with_anonymous_id
from sluicegate.gateway.pixel import PIXEL, event_of_query
from sluicegate.gateway.readiness import Readiness
from sluicegate.gateway.routes import BATCH_PATHS, WEBHOOK_PATH, Handler, Route, event_routes, query_value
from sluicegate.gateway.singles import Singles
from sluicegate.gateway.traffic import overloaded
from sluicegate.gateway.webhook import events_of_webhook
from sluicegate.metrics import GatewayMetrics

log = logging.getLogger(__name__)

UNAUTHORIZED = refusal(
    401, "invalid_write_key", "send a write key of this system: as Basic user name, as Bearer token, or as writeKey"
)
_OF_SERVERS = frozenset((*BATCH_PATHS, WEBHOOK_PATH))
"""Paths where the events of a sender that is no browser do not have its key."""
SMALL_BYTES = 2_048
"""Searching so much costs nothing."""
_DISK_LOW = "the disk is nearly full, no events can be taken; send again later"
_DROPPED = Answer(200, b'{"success":true}')

_Accept = Callable[[bytes, str, Signals], Acceptance]


class Waiting(NamedTuple):
    """Requests whose events are on their way to the disk, as one batch; all get the same answer."""

    exchanges: Sequence[Answered]
    answer: Answer
    n_events: int
    since: float
    message_ids: Sequence[str] = ()
    """To be logged; empty above the level debug."""


class Writer(Protocol):
    """What of `LoopCommit` is used here."""

    def submit(self, batch: EventBatch, token: Waiting) -> bool:
        """Take a batch, or not."""
        ...

    def announce(self) -> None:
        """Have `Ingest.bring_in` called before the next commit."""
        ...


class Ingest:
    """Handlers of the paths that take events; an event is answered for when it is on disk, and not before."""

    def __init__(
        self,
        acceptor: Acceptor,
        keys: WriteKeys,
        *,
        writer: Writer,
        metrics: GatewayMetrics,
        readiness: Readiness,
        space: FreeSpace,
        max_body_bytes: int,
        clock: Callable[[], float],
        collect: Callable[[EventBatch, Callable[[], None]], None] = lambda batch, then: then(),
        taken: Callable[[EventBatch], EventBatch] = lambda batch: batch,
    ) -> None:
        self._taken = taken
        self._collect = collect
        self._space = space
        self._acceptor = acceptor
        self._keys = keys
        self._writer = writer
        self._metrics = metrics
        self._readiness = readiness
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._singles = Singles(
            acceptor, keys, announce=writer.announce, accepted=self._accepted_together, clock_ms=_unix_ms
        )
        self.bring_in = self._singles.bring_in

    def routes(self) -> list[Route]:
        """Where they are."""
        return event_routes(
            self._single,
            jitsu=self._jitsu,
            pixel=self._pixel,
            batch=self._batch,
            webhook=self._webhook,
            drop=self._drop,
        )

    # -- requests ---------------------------------------------------------------------------------------------------

    def _single(self, kind: str) -> Handler:
        accept = self._accept_of(kind)
        add = self._singles.add

        def handle(exchange: Exchange) -> None:
            if not add(exchange, kind, alone):
                alone(exchange)

        def alone(exchange: Exchange) -> None:
            self._take(exchange, accept)

        return handle

    def _accept_of(self, kind: str) -> _Accept:
        accept = self._acceptor.accept_single
        return lambda body, source, signals: accept(
            body, type=kind, source=source, received_at_ms=_unix_ms(), signals=signals
        )

    def _jitsu(self, kind: str) -> Handler:
        accept = self._accept_of(kind)

        def accept_anyone(body: bytes, source: str, signals: Signals) -> Acceptance:
            accepted = accept(body, source, signals)
            if lacks_subject(accepted):
                accepted = accept(with_anonymous_id(body), source, signals)
                accepted.of_nobody = True
            return accepted

        return lambda exchange: self._take(exchange, accept_anyone)

    def _pixel(self, kind: str) -> Handler:
        accept = self._accept_of(kind)

        def handle(exchange: Exchange) -> None:
            if exchange.method == b"HEAD":
                exchange.reply(PIXEL)
                return
            try:
                exchange.body = event_of_query(exchange.query)
            except BodyRefused as refused:
                exchange.reply(refusal(refused.status, refused.code, str(refused)))
            else:
                self._take(exchange, accept, image=True)

        return handle

    def _batch(self, exchange: Exchange) -> None:
        accept = self._acceptor.accept_batch

        def accept_batch(body: bytes, source: str, signals: Signals) -> Acceptance:
            return accept(body, source=source, received_at_ms=_unix_ms(), signals=signals)

        self._take(exchange, accept_batch)

    def _webhook(self, exchange: Exchange) -> None:
        accept = self._acceptor.accept_events

        def accept_webhook(body: bytes, source: str, signals: Signals) -> Acceptance:
            # Whoever calls is another system and no visitor: what its request says beside the body is not consent.
            events = events_of_webhook(body, limits=self._acceptor.limits)
            return accept(events, consent=None, source=source, received_at_ms=_unix_ms())

        self._take(exchange, accept_webhook)

    def _drop(self, exchange: Exchange) -> None:
        exchange.reply(_DROPPED)

    def _take(self, exchange: Exchange, accept: _Accept, *, image: bool = False) -> None:
        """Authorise, decompress, accept and hand over to the log; answer at once if any of it fails.

        With `image` the answer to an event that is stored is a picture.
        """
        body, exchange.body = exchange.body, b""
        headers = exchange.headers
        source = self._source(exchange)
        key = key_outside_body(exchange) if source is None else None
        if key is not None and (source := self._keys.source(key)) is None:
            exchange.reply(UNAUTHORIZED)
            return
        if b"content-encoding" in headers or body.startswith(MAGIC):
            plain = plain_body(body, encoding=headers.get(b"content-encoding", b""), max_bytes=self._max_body_bytes)
            if isinstance(plain, Answer):
                exchange.reply(plain)
                return
            if not exchange.connection.traffic.hold(exchange, len(plain) - len(body)):
                exchange.reply(overloaded("too many bytes in hand"))
                return
            body = plain
        if source is None:
            key_text = write_key_of(body)
            source = None if key_text is None else self._keys.source(key_text.encode("utf-8", "surrogatepass"))
            if key_text is None or source is None:
                exchange.reply(UNAUTHORIZED)
                return
            body = without_key(body, key_text.encode())  # an event is stored and sent on as received
        elif _may_repeat_key(body, exchange) and (key := key or key_outside_body(exchange)):
            body = without_key(body, key)
        try:
            acceptance = accept(body, source, self._acceptor.ways.signals(headers))
        except BodyRefused as refused:
            exchange.reply(refusal(refused.status, refused.code, str(refused)))
        else:
            if b"x-ip-policy" in headers:
                apply_ip_policy(acceptance.batch, IpPolicy.of(headers[b"x-ip-policy"]))
            self._hand_over(exchange, acceptance, image=image)

    def _source(self, exchange: Exchange) -> str | None:
        """Whose key is in `Authorization`; looked up once for requests with the same head."""
        head = exchange.head
        if head is not None and head.source_of_key is not None:
            return head.source_of_key
        source = self._keys.source_of_header(exchange.headers.get(b"authorization", b""))
        if head is not None:
            head.source_of_key = source
        return source

    def _hand_over(self, exchange: Exchange, acceptance: Acceptance, *, image: bool) -> None:
        batch, rejected = acceptance.batch, acceptance.rejected
        if rejected:
            self._note(rejected)
        self._metrics.consent.malformed += acceptance.malformed_consent
        answer = accepted(len(batch), [_verdict(rejection) for rejection in rejected])
        if image:
            answer = PIXEL if batch.events else refusal(400, "bad_event", f"the event is refused: {rejected[0].text}")
        if not batch.events:
            exchange.reply(answer)
            return
        self.bring_in()  # these came before
        self._take_over([exchange], acceptance, answer)

    def _note(self, rejected: Sequence[Rejection]) -> None:
        for reason, n in Counter([rejection.reason for rejection in rejected]).items():
            self._metrics.rejected[reason.name.lower()] += n
        if log.isEnabledFor(logging.DEBUG):
            for rejection in rejected:
                log.debug("rejected", extra={"message_id": rejection.message_id, "reason": rejection.text})

    def _accepted_together(self, exchanges: Sequence[Exchange], acceptance: Acceptance) -> None:
        """One event of each of these requests."""
        self._metrics.consent.malformed += acceptance.malformed_consent
        self._take_over(exchanges, acceptance, accepted(1))

    def _take_over(self, exchanges: Sequence[Exchange], acceptance: Acceptance, answer: Answer) -> None:
        batch = self._taken(acceptance.batch)
        if not batch.events:
            reply_all(exchanges, answer)
            return
        problem = self._space.taking(batch.n_bytes)
        if problem is not None:
            self._readiness.disk_has(problem)
            reply_all(exchanges, unavailable("disk_low", _DISK_LOW))
            return
        message_ids = batch.message_ids if log.isEnabledFor(logging.DEBUG) else ()
        waiting = Waiting(exchanges, answer, len(batch.events), self._clock(), message_ids)
        if acceptance.of_nobody:
            self._store(batch, waiting)
        else:
            self._collect(batch, partial(self._store, batch, waiting))

    def _store(self, batch: EventBatch, waiting: Waiting) -> None:
        try:
            if not self._writer.submit(batch, waiting):
                reply_all(waiting.exchanges, overloaded("the event log is behind"))
        except Exception:  # perhaps after the ledger, where nobody waits for what becomes of this call
            for exchange in waiting.exchanges:
                fail(exchange)

    # -- the log's word ---------------------------------------------------------------------------------------------

    def committed(self, done: Sequence[tuple[Waiting, Offset]], n_left_out: int) -> None:
        """These requests' events are on disk; of all of them so many were there before."""
        metrics = self._metrics
        n_events = 0
        for waiting, _ in done:
            n_events += waiting.n_events
            reply_all(waiting.exchanges, waiting.answer)
            for message_id in waiting.message_ids:
                log.debug("accepted", extra={"message_id": message_id})
        metrics.accepted += n_events - n_left_out
        metrics.duplicates += n_left_out
        metrics.commit_events.observe(n_events)
        metrics.commit_seconds.observe(self._clock() - done[0][0].since)
        self._readiness.append_succeeded()

    def failed(self, tokens: Sequence[Waiting], error: LogError) -> None:
        """These requests' events are not stored."""
        self._metrics.failed_commits += sum([len(waiting.exchanges) for waiting in tokens])
        self._readiness.append_failed(str(error), self._clock())
        for waiting in tokens:
            reply_all(
                waiting.exchanges,
                unavailable("log_unavailable", "the event log cannot take events now; send again later"),
            )


def _may_repeat_key(body: bytes, exchange: Exchange) -> bool:
    """Whether events may have the key that a header has told, as those of browsers have it.

    A search through 64 KB takes 50 us, so it is left out where no SDK does that: in batches of servers, which have
    the key beside the events.
    """
    is_likely = b"origin" in exchange.headers or exchange.route.path not in _OF_SERVERS
    return (is_likely or len(body) <= SMALL_BYTES) and KEY_MEMBER in body


def _verdict(rejection: Rejection) -> dict[str, object]:
    return {"index": rejection.index, "messageId": rejection.message_id, "reason": rejection.text}


def key_outside_body(exchange: Exchange) -> bytes | None:
    """The key by which a request wants to be known, the first of: Authorization, X-Write-Key, query."""
    headers = exchange.headers
    key = key_of_authorization(headers.get(b"authorization", b""))
    if key is None and b"x-write-key" in headers:
        key = key_of_write_key_header(headers[b"x-write-key"])
    if key is None and exchange.query:
        key = query_value(exchange.query, b"writeKey") or None
    return key


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

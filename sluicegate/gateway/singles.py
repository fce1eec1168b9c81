"""Requests with a single event that ask for nothing special: those of one turn of the loop are accepted together.

Accepting, checking for duplicates and storing eight events as one batch costs half of what it costs one by one, and
the more clients send at a time, the more is saved. Whatever is odd about any of them makes each go its own way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sluicegate.acceptance import Acceptance, Acceptor
from sluicegate.event import MAX_COMBOS
from sluicegate.gateway.auth import KEY_MEMBER, WriteKeys
from sluicegate.gateway.exchange import Exchange, fail
from sluicegate.gateway.heads import Head

log = logging.getLogger(__name__)

MAX_TOGETHER = MAX_COMBOS
"""Events that are accepted at once, so that they fit into a row of the log whatever they say."""

_PLAIN_FIELDS = {b"host", b"content-length", b"authorization", b"origin"}
"""Header fields that say nothing about how the body is to be read."""
_CLOSER_LOOK = ""
_SOURCE = attrgetter("source")


class Single(NamedTuple):
    """A request that waits for the others; `alone` takes it when they cannot be accepted together."""

    source: str
    exchange: Exchange
    type: str
    alone: Callable[[Exchange], None]


class Singles:
    """Gathers requests and accepts them in the order in which they came; belongs to the loop.

    `announce` says that `bring_in` has to be called before the next commit, `accepted` gets what that has accepted.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        keys: WriteKeys,
        *,
        announce: Callable[[], None],
        accepted: Callable[[Sequence[Exchange], Acceptance], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._acceptor = acceptor
        self._keys = keys
        self._announce = announce
        self._accepted = accepted
        self._clock_ms = clock_ms
        self._waiting: list[Single] = []
        self._is_bringing_in = False

    def add(self, exchange: Exchange, type_: str, alone: Callable[[Exchange], None]) -> bool:
        """Take a request whose head was seen before, whose key is right and which asks for nothing special; or not."""
        head = exchange.head
        if head is None or exchange.body[:1] != b"{" or KEY_MEMBER in exchange.body:
            return False
        source = head.source
        if source is None:
            source = head.source = self._source(head)
        if not source:
            return False
        self._waiting.append(Single(source, exchange, type_, alone))
        self._announce()
        return True

    def _source(self, head: Head) -> str:
        if head.query or not _PLAIN_FIELDS.issuperset(head.fields):
            return _CLOSER_LOOK
        return self._keys.source_of_header(head.fields.get(b"authorization", b"")) or _CLOSER_LOOK

    def bring_in(self) -> None:
        """Accept everything that waits."""
        if self._is_bringing_in or not self._waiting:
            return
        self._is_bringing_in = True
        waiting, self._waiting = self._waiting, []
        try:
            for source, of_source in groupby(waiting, key=_SOURCE):
                group = list(of_source)
                for start in range(0, len(group), MAX_TOGETHER):
                    self._take(source, group[start : start + MAX_TOGETHER])
        finally:
            self._is_bringing_in = False

    def _take(self, source: str, group: list[Single]) -> None:
        exchanges = [single.exchange for single in group]
        try:
            acceptance = self._acceptor.accept_singles(
                [exchange.body for exchange in exchanges],
                types=[single.type for single in group],
                source=source,
                received_at_ms=self._clock_ms(),
            )
            if acceptance is not None:
                self._accepted(exchanges, acceptance)
                return
        except Exception:
            log.exception("cannot accept %d events together", len(group))
        for single in group:
            _take_alone(single)


def _take_alone(single: Single) -> None:
    try:
        single.alone(single.exchange)
    except Exception:
        fail(single.exchange)

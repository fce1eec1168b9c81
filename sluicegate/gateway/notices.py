"""Decisions that were told by themselves, on their way to the destinations that want to hear of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sluicegate.acceptance.notice import listeners, notice_of
from sluicegate.config.model import Config
from sluicegate.consent.evidence import Told
from sluicegate.consent.ledger import Recorded
from sluicegate.event import EventBatch
from sluicegate.gateway.answer import Answer, accepted
from sluicegate.gateway.consent import AfterWrite, Answering
from sluicegate.gateway.ingest import Waiting
from sluicegate.gateway.withdrawal import UNKNOWN

log = logging.getLogger(__name__)


class Notices:
    """Stores an event about each decision before it is answered for, where anybody wants to hear of it.

    `submit` and `taken` are what all events go through, `then` is what follows on a decision. One that could not be
    stored is in the ledger all the same: the answer then has `untold`, the destinations that did not hear of it.
    """

    def __init__(
        self,
        config: Config,
        *,
        submit: Callable[[EventBatch, Waiting], bool],
        taken: Callable[[EventBatch], EventBatch],
        then: AfterWrite,
    ) -> None:
        self._listeners = listeners(config)
        self._submit = submit
        self._taken = taken
        self._then = then

    def after_write(self, told: Told, recorded: Recorded, answer: Answering) -> None:
        """Go on at once where nobody listens, else when the event is on disk, or cannot be stored."""
        batch = (
            self._taken(notice_of(told, received_ms=time.time_ns() // 1_000_000)) if self._listeners else EventBatch()
        )
        if not len(batch):
            self._then(told, recorded, answer)
            return
        storing = _Storing(lambda is_stored: self._stored(told, recorded, answer, is_stored))
        if not self._submit(batch, Waiting([storing], accepted(1), 1, time.monotonic())):
            storing.done(False)

    def _stored(self, told: Told, recorded: Recorded, answer: Answering, is_stored: bool) -> None:
        try:
            self._then(told, recorded, answer if is_stored else self._untold(answer))
        except Exception:
            log.exception("a decision is recorded, but it is not known whether it is in force")
            answer(UNKNOWN)

    def _untold(self, answer: Answering) -> Answering:
        log.warning("a decision is recorded, but the destinations that want to hear of it cannot be told")
        return lambda members: answer({**members, "untold": self._listeners})


class _Storing:
    """Stands among the requests whose events are being stored; 200 says that this one is."""

    def __init__(self, done: Callable[[bool], None]) -> None:
        self.done = done

    def reply(self, answer: Answer) -> None:
        """What the log's answer comes to."""
        self.done(answer.status == 200)

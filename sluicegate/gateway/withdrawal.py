"""What follows on a decision that was told over HTTP: a denial is answered for when it is in force everywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sluicegate.config.model import Config
from sluicegate.consent.evidence import Told
from sluicegate.consent.ledger import Recorded
from sluicegate.delivery.barrier import Barrier, Stopped, denies
from sluicegate.gateway.consent import Answering

log = logging.getLogger(__name__)


MAX_AT_ONCE = 8
"""Denials that are waited for; each takes milliseconds, seconds when a destination's process is stopped."""
UNKNOWN: Mapping[str, Any] = {"late": ["*"]}
"""The answer when nobody knows whether a denial is in force."""


class Withdrawals:
    """Waits in threads of its own, so that nothing else does; `after_write` belongs to the loop."""

    def __init__(self, config: Config) -> None:
        self._barrier = Barrier(config)
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "denials")
        self._closed = False

    def after_write(self, told: Told, recorded: Recorded, answer: Answering) -> None:
        """Answer at once for what only grants, else when no call can begin any more that did not see it."""
        if not denies(told):
            answer({})
        elif self._closed:
            answer(UNKNOWN)
        else:
            waiting = asyncio.get_running_loop().run_in_executor(self._threads, self._barrier.pass_on, [told])
            waiting.add_done_callback(lambda done: answer(_members(done)))

    def close(self) -> None:
        """Wait for no more: whoever asked is answered that it is not known, but for the few that are looked at now."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)


def _members(done: asyncio.Future[Stopped]) -> Mapping[str, Any]:
    """What the answer tells of it; `late` is there only when something is."""
    if done.cancelled() or (error := done.exception()) is not None:
        log.warning("it is not known whether a denial is in force: %s", "cancelled" if done.cancelled() else error)
        return UNKNOWN
    result = done.result()
    members: dict[str, Any] = {"stopped": result.stopped, "inFlight": result.in_flight}
    if not result.complete:
        members["stoppedAtLeast"] = True
    if result.late:
        members["late"] = result.late
    return members

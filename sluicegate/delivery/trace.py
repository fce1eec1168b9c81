"""What becomes of single events, in the log: dead letters always, everything else at the level debug."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sluicegate.delivery.letters import DeadLetter
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome

MAX_NAMED = 20
"""Dead letters of one commit that are named in the log; all of them are in the store."""

logger = logging.getLogger(__name__)


def delivered(batch: Batch) -> None:
    """The vendor has these."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    for offset, message_id in zip(batch.offsets, batch.message_ids, strict=True):
        logger.debug("delivered", extra={"message_id": message_id, "offset": offset})


def partly_delivered(batch: Batch, outcome: Outcome) -> None:
    """The vendor has those that the outcome does not name; those that are not for it are told too."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    for index, (offset, message_id) in enumerate(zip(batch.offsets, batch.message_ids, strict=True)):
        fields = {"message_id": message_id, "offset": offset}
        if index in outcome.skipped:
            logger.debug("skipped", extra={**fields, "reason": outcome.skipped[index]})
        elif index not in outcome.rejected and index not in outcome.again:
            logger.debug("delivered", extra=fields)


def dead(letters: Sequence[DeadLetter]) -> None:
    """These have been given up."""
    for letter in letters[:MAX_NAMED]:
        fields = {"message_id": letter.message_id, "offset": letter.offset, "attempts": letter.attempts}
        logger.warning("dead letter", extra={**fields, "reason": letter.reason})
    if len(letters) > MAX_NAMED:
        logger.warning("and %d more dead letters", len(letters) - MAX_NAMED)

"""How one event ended, or stands, at one destination."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.audit.reading import Entry
from sluicegate.audit.words import Final
from sluicegate.config.model import Requirement
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.explain.ledger import LedgerStory

NOT_ROUTED = "not routed"
_LETTERS = {LetterStatus.REPLAY: "being replayed", LetterStatus.DROPPED: "dead, dropped"}


@dataclass(frozen=True, slots=True)
class Fate:
    """How one event ended, or stands, at one destination.

    `outcome` is the account that it is counted in, or will be; `decision` what it comes to, None while nothing is
    final, with its `reason`. `note` says what else there is to say. `decided` has the decisions that the audit keeps,
    the final one last. `requires` is what the destination requires now, `required` what it required when the event was
    decided, where that was something else. One that is not `configured` any more requires nothing now.
    """

    destination: str
    outcome: str
    decision: Final | None = None
    reason: str = ""
    note: str = ""
    requires: Requirement | None = None
    required: Requirement | None = None
    decided: tuple[Entry, ...] = ()
    ledger: LedgerStory | None = None
    letter: DeadLetter | None = None
    configured: bool = True

    @property
    def says_something(self) -> bool:
        """Whether anything became of the event here, or may have."""
        return self.outcome != NOT_ROUTED

    @property
    def decided_by(self) -> Requirement | None:
        """What was required when it was decided; what is required now, while it is not."""
        return self.required or self.requires


def letter_outcome(letter: DeadLetter) -> str:
    """How a dead letter stands."""
    return _LETTERS.get(letter.status, "dead")

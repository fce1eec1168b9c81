"""How the events of lanes ended, each where it is accounted for.

Pure. Those of the log go into the settlement, which moves the cursor. Replayed dead letters, and held events that the
cursor has passed, are accounted for aside. An event that went redacted ends as delivered or denied, never as a dead
letter.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluicegate import masking
from sluicegate.consent.standing import ERASED
from sluicegate.delivery.beyond import Remembered
from sluicegate.delivery.gate import REDACT
from sluicegate.delivery.lane import Lane, Origin, Part
from sluicegate.delivery.settlement import Aside, Dead, Settlement, Stage
from sluicegate.errors import DestinationError, Rejected
from sluicegate.eventlog.runs import Events

MAX_REASON_CHARS = 100
"""Of the reason for which a destination leaves an event out; it is the name of a counter."""
REDACTED_REFUSED = "redacted_refused"
"""The reason of events that went redacted and were not taken so: no dead letters, which would keep a person's event
that refused."""


class Outcomes:
    """The accounts of one destination since the last commit."""

    def __init__(self, cursor: int, remembered: Remembered | None = None) -> None:
        self.settlement = Settlement(cursor, remembered)
        self._aside: dict[Origin, Aside] = {Origin.LETTERS: Aside(), Origin.HELD: Aside()}

    @property
    def has_replayed(self) -> bool:
        """Whether `take_aside` has not told of the end of a replayed letter yet."""
        return bool(self._aside[Origin.LETTERS])

    def take_aside(self, origin: Origin) -> Aside:
        """How events ended that are not settled by the cursor, since the last call."""
        settled, self._aside[origin] = self._aside[origin], Aside()
        return settled

    def take_dead(self, events: Events, version: int) -> Events:
        """Settle what an earlier process has given up of events that were read; return the others."""
        rest, redacted = self.settlement.take_dead(events)
        for offset in redacted:
            self.settlement.deny(offset, REDACTED_REFUSED, version)
        return rest

    def deliver(self, lane: Lane, events: Events) -> None:
        """These of the lane were delivered."""
        into = self.settlement if lane.origin is Origin.LOG else self._aside[lane.origin]
        for run in events.runs:
            into.deliver(run.offsets, lane.version, redacted=run.redact)

    def deny(self, lane: Lane, offset: int, reason: str, version: int) -> None:
        """This one of the lane is not for the destination, by this version of the ledger."""
        if lane.origin is Origin.LOG:
            self.settlement.deny(offset, reason, version)
        else:
            self._aside[lane.origin].deny(offset, self.settlement.counted_as(reason), version)

    def skip(self, lane: Lane, events: Events, reasons: Mapping[int, str]) -> None:
        """Count these as denied by the destination itself."""
        offsets = events.offsets if reasons else []
        shown = {reason: masking.hidden(reason)[:MAX_REASON_CHARS] for reason in set(reasons.values())}
        for index, reason in reasons.items():
            self.deny(lane, offsets[index], shown[reason], lane.version)

    def refuse(self, lane: Lane, refused: Mapping[int, str], version: int) -> int:
        """Take what may not go out any more from a lane's first part, and mark what may go redacted.

        Returns how many events it took; they are denied by this version of the ledger.
        """
        part = lane.parts.popleft()
        if to_redact := {index for index, reason in refused.items() if reason == REDACT}:
            part = part.redacting(to_redact)
            refused = {index: reason for index, reason in refused.items() if index not in to_redact}
        offsets = part.events.offsets
        for index, reason in refused.items():
            self.deny(lane, offsets[index], reason, version)
        lane.scattered = True
        if part.first_error and ERASED in refused.values():
            part.first_error = ERASED  # a vendor's words may quote what is erased
        rest = part.without(refused)
        if len(rest.events):
            lane.parts.appendleft(rest)
        return len(refused)

    def bury(self, lane: Lane, part: Part, index: int, reason: str, error: BaseException, now: float) -> None:
        """One event of a part is dead: by the last error, and what the vendor answered."""
        one = part.events.slice(index, index + 1)
        if one.runs[0].redact:
            self.deny(lane, one.offsets[0], REDACTED_REFUSED, lane.version)
            return
        (offset,), (message_id,), raw = one.offsets, one.message_ids, one.joined()
        answer = error if isinstance(error, DestinationError) else DestinationError()
        stage = Stage.REJECTED if isinstance(error, Rejected) else Stage.GIVEN_UP
        story = stage, part.first_error or reason, answer.status, answer.response
        dead = Dead(offset, message_id, raw, reason, part.attempts, part.first_attempt, now, *story)
        if lane.origin is not Origin.LOG:
            self._aside[lane.origin].bury(dead, lane.version)
        else:
            self.settlement.bury(dead, lane.version)

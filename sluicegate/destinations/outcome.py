"""How a call of `deliver` ended, when not all of its events ended alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sluicegate.errors import DestinationError, Rejected, Retry


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the events of a batch, by index; those that are named nowhere are delivered, for good.

    `rejected` become dead letters. `skipped` are not for this destination, and are counted as denied by that reason
    (a fixed text: every one has a counter). `again` are sent again, in their order and before anything later of their
    subjects; a destination that stops at the first request that fails names all that come after it too.

    With a `reason` the vendor could not take those of `again` now: like `Retry`, after `after_s` or with backoff.
    Without one they go at once, which is only allowed when the other events of the batch are done with. `status` and
    `response` are what the vendor answered last; they are kept with dead letters, and 429 means that it is only busy.
    """

    rejected: Mapping[int, str] = field(default_factory=dict)
    skipped: Mapping[int, str] = field(default_factory=dict)
    again: frozenset[int] = frozenset()
    reason: str = ""
    after_s: float | None = None
    outcome_unknown: bool = False
    """Whether the vendor may have those of `again`: their request went out and no answer came."""
    status: int | None = None
    response: str = ""

    def failure(self) -> DestinationError | None:
        """What failed, as an error: of the events to be sent again, else of those rejected; None when nothing did."""
        error: DestinationError
        if self.reason and self.again:
            error = Retry(self.reason, after_s=self.after_s, outcome_unknown=self.outcome_unknown)
        elif self.rejected:
            first = next(iter(self.rejected.values()))
            error = Rejected(first if len(self.rejected) == 1 else f"{len(self.rejected)} events rejected: {first}")
        else:
            return None
        error.status, error.response = self.status, self.response
        return error

    def problem(self, n_events: int) -> str | None:
        """What is wrong with it as the outcome of a batch of so many events, None when it makes sense."""
        named = [*self.rejected, *self.skipped, *self.again]
        if len(set(named)) < len(named):
            return f"the plugin named events more than once: {named[:20]}"
        if not all(isinstance(index, int) and 0 <= index < n_events for index in named):
            return f"the plugin named events {named[:20]} of a batch of {n_events}"
        if len(self.again) == n_events and not self.reason:
            return "the plugin wants the whole batch again and says no reason"
        return None

    def moved(self, places: Sequence[int], *, skipped: Mapping[int, str]) -> Outcome:
        """The same of a larger batch, where event i is at `places[i]`, and of which these were skipped besides."""
        return replace(
            self,
            rejected={places[index]: reason for index, reason in self.rejected.items()},
            skipped={**skipped, **{places[index]: reason for index, reason in self.skipped.items()}},
            again=frozenset(places[index] for index in self.again),
        )

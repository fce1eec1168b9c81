"""How calls of `deliver` end, brought to as few forms as the rules need."""

from __future__ import annotations

from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import Rejected, Retry

Result = Outcome | BaseException | None
"""None for all delivered, the outcome that was returned, or what was raised."""


def checked(result: Result, n_events: int) -> Result:
    """The result as the rules take it: a rejection of certain events is an `Outcome`, what makes no sense a `Retry`."""
    if isinstance(result, Rejected):
        result = _as_outcome(result, n_events)
    if isinstance(result, Outcome):
        problem = result.problem(n_events)
        return result if problem is None else Retry(problem)
    return result


def _as_outcome(error: Rejected, n_events: int) -> Outcome | Rejected | Retry:
    reasons = error.reasons
    if isinstance(reasons, str):
        if n_events > 1:
            return error
        reasons = {0: reasons}
    if not reasons:
        return Retry("the plugin rejected events and named none")
    again = frozenset[int]() if error.rest_delivered else frozenset(range(n_events)).difference(reasons)
    named = {index: str(reasons[index]) for index in sorted(reasons)}
    return Outcome(named, again=again, status=error.status, response=error.response)

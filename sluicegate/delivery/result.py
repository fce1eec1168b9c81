"""How calls of `deliver` end, brought to as few forms as the rules need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import DestinationError, Rejected, Retry

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


def in_texts(outcome: Outcome) -> Outcome:
    """What a plugin gives for a text may be an exception or the bytes of an answer: all of it as texts."""
    return replace(
        outcome,
        rejected={index: _text(reason) for index, reason in outcome.rejected.items()},
        skipped={index: _text(reason) for index, reason in outcome.skipped.items()},
        reason=_text(outcome.reason),
        response=_text(outcome.response),
    )


def error_in_texts(error: BaseException) -> BaseException:
    """The same of what it raises."""
    if isinstance(error, DestinationError):
        error.response = _text(error.response)
    return error


def _text(given: object) -> str:
    """As a text that a store takes: half a surrogate pair is none."""
    text = given.decode("utf-8", "replace") if isinstance(given, bytes) else str("" if given is None else given)
    return text.encode("utf-8", "replace").decode()


def _as_outcome(error: Rejected, n_events: int) -> Outcome | Rejected | Retry:
    reasons = error.reasons
    if isinstance(reasons, str):
        if n_events > 1:
            return error
        reasons = {0: reasons}
    if not isinstance(reasons, Mapping) or not reasons:
        return Retry("the plugin rejected events and named none")
    again = frozenset[int]() if error.rest_delivered else frozenset(range(n_events)).difference(reasons)
    named = {index: str(reason) for index, reason in reasons.items()}
    return Outcome(named, again=again, status=error.status, response=error.response)

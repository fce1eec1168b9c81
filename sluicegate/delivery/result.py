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
    """What a plugin gives for a text may be an exception or the bytes of an answer: all of it as texts.

    A status that is no number is none.
    """
    return replace(
        outcome,
        rejected={index: _text(reason) for index, reason in outcome.rejected.items()},
        skipped={index: _text(reason) for index, reason in outcome.skipped.items()},
        reason=_text(outcome.reason),
        status=_status(outcome.status),
        response=_text(outcome.response),
    )


def error_in_texts(error: BaseException) -> BaseException:
    """The same of what it raises."""
    try:
        str(error)
    except Exception:
        return Retry(f"the plugin raised {type(error).__name__}, which does not say what it is")
    if isinstance(error, DestinationError):
        error.status, error.response = _status(error.status), _text(error.response)
    return error


def _status(given: object) -> int | None:
    return given if isinstance(given, int) else None


def _text(given: object) -> str:
    """As a text that a store takes: half a surrogate pair is none."""
    text = given.decode("utf-8", "replace") if isinstance(given, bytes) else str("" if given is None else given)
    return text.encode("utf-8", "replace").decode()


def _as_outcome(error: Rejected, n_events: int) -> Outcome | Rejected | Retry:
    reasons = error.reasons
    if isinstance(reasons, str):
        if n_events > 1:
            return error
        reasons = {0: reasons or str(error)}
    if not reasons:
        return Retry("the plugin rejected events and named none")
    if not isinstance(reasons, Mapping):
        return Retry(f"the plugin rejected events by a {type(reasons).__name__} instead of by their places")
    again = frozenset[int]() if error.rest_delivered else frozenset(range(n_events)).difference(reasons)
    named = {index: _text(reason) for index, reason in reasons.items()}
    return Outcome(named, again=again, status=error.status, response=error.response)

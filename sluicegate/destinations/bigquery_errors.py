"""What an error of BigQuery means, for a call and for a row (cloud.google.com/bigquery/docs/error-messages)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import RefreshError, TransportError

from sluicegate.destinations.pools import refusal_behind
from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry

_QUOTAS = frozenset({"rateLimitExceeded", "quotaExceeded", "resourcesExceeded", "jobRateLimitExceeded"})
"""Reasons of a 403 that pass; all others are missing permissions or billing."""
_MANY_REASONS = 3


class Verdict(Enum):
    """What a row's errors mean: never, later, or once BigQuery has noticed a column that was just made or changed."""

    REFUSED = "refused"
    AGAIN = "again"
    NOT_YET = "not yet"


def verdict_of(errors: Sequence[Mapping[str, str]], *, changed: Collection[str] = ()) -> tuple[Verdict, str]:
    """What the errors of one row mean, and their texts; `changed` are columns that have got another type just now."""
    texts = [f"{error.get('location') or 'row'}: {error.get('message') or error.get('reason')}" for error in errors]
    text = "; ".join(texts[:_MANY_REASONS])
    reasons = {error.get("reason") for error in errors}
    unseen = any("no such field" in (error.get("message") or "").lower() for error in errors)
    if unseen or any(error.get("location") in changed for error in errors):
        return Verdict.NOT_YET, text
    return (Verdict.REFUSED if reasons <= {"invalid", "invalidQuery"} else Verdict.AGAIN), text


def outcome_of(error: Exception) -> DestinationError:
    """The outcome to raise for an error of the library, of signing in or of the network."""
    refused = refusal_behind(error)
    if refused is not None:
        return CredentialsRefused(str(refused))
    if isinstance(error, TransportError):
        return Retry(f"signing in failed: {_line(error)}")
    if isinstance(error, RefreshError):
        text = f"signing in was refused: {_line(error)}"
        return Retry(text) if error.retryable else CredentialsRefused(text)
    if not isinstance(error, GoogleAPICallError):
        return Retry(f"BigQuery: {_line(error)}")
    reasons = {detail.get("reason") for detail in error.errors if isinstance(detail, Mapping)}
    text = f"BigQuery answered {error.code}: {error.message}"[:400]
    if reasons & _QUOTAS:
        return Retry(text)
    if error.code in (401, 403):
        return CredentialsRefused(text)
    return Rejected(text) if error.code in (400, 413) else Retry(text)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

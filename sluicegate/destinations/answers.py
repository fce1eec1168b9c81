"""What the answers of HTTP vendors mean, where a vendor's documents say nothing else."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from sluicegate.destinations.http import Answer
from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry

RETRY_STATUSES = frozenset({408, 425, 429})
REFUSED_STATUSES = {401: "credentials", 403: "credentials", 404: "gone", 410: "gone"}
"""Answers that are about us or the address and not about the events, and what to look at."""
MAX_RETRY_AFTER_S = 3600


def json_of(answer: Answer) -> dict[str, Any]:
    """The JSON object in the body of an answer; an empty one when there is none."""
    try:
        found = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def outcome_of(answer: Answer, name: str) -> DestinationError | None:
    """What an answer means: None for 2xx, else the error to raise."""
    status = answer.status
    if 200 <= status < 300:
        return None
    text = f"{name} answered {status}" + (f": {answer.excerpt}" if answer.excerpt else "")
    error: DestinationError
    if status >= 500 or status in RETRY_STATUSES:
        error = Retry(text, after_s=retry_after_s(answer.headers.get("retry-after"), now=time.time()))
    elif 300 <= status < 400:
        error = CredentialsRefused(f"moved: {name} answered {status}, which is not followed; write the final address")
    elif status in REFUSED_STATUSES:
        error = CredentialsRefused(f"{REFUSED_STATUSES[status]}: {text}")
    else:
        error = Rejected(text)
    return error.answered(status, answer.beginning())


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (a number or an HTTP date), at most 1 h; None for none or nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), MAX_RETRY_AFTER_S))
    try:
        wait = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), float(MAX_RETRY_AFTER_S))

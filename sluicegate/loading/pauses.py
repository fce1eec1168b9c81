"""Why a destination is paused, as one text that is kept on disk: by an operator, by its vendor's refusal, or by both.

The two end differently. What a vendor has refused may be right again once the configuration has changed; what an
operator has stopped stays so until somebody resumes it.
"""

from __future__ import annotations

OPERATOR = "paused by an operator"
_BESIDE = f"{OPERATOR}; refused before: "


def by_operator(reason: str | None) -> str:
    """What an operator's pause makes of the reason that stood there, None for none: a vendor's is kept beside it."""
    if reason is None or is_operators(reason):
        return reason or OPERATOR
    return _BESIDE + reason


def refused_meanwhile(reason: str, refusal: str) -> str:
    """What a vendor's refusal makes of a pause: an operator's goes on, with the refusal beside it."""
    return _BESIDE + refusal if is_operators(reason) else reason


def is_operators(reason: str) -> bool:
    """Whether an operator has paused it, whatever its vendor says."""
    return reason == OPERATOR or reason.startswith(_BESIDE)


def is_refused(reason: str) -> bool:
    """Whether its vendor has refused it, whoever paused it besides."""
    return reason != OPERATOR


def without_refusal(reason: str) -> str | None:
    """What is left when the vendor's refusal does not count any more; None: it is not paused then."""
    return OPERATOR if is_operators(reason) else None


def in_words(reason: str | None) -> str:
    """The reason as an answer to whoever wanted it loaded."""
    return f"paused: {reason}" if reason is None or not is_operators(reason) else reason

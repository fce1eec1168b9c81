"""What an error of an object store means. Pure: from the library's kind of error and its text.

Stores say nothing about single events: what they refuse, they refuse because of how we are configured. So everything
but a body that is too large pauses, and no event becomes a dead letter by a wrong setting.
"""

from __future__ import annotations

import re

from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry

MAX_TEXT = 400
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_QUERY = re.compile(r"\?\S*")
_IN_FRONT = re.compile(r"^.*?(?=Error performing )")
_TIMED_OUT = re.compile(r"kind: Timeout")
_NOT_SENT = re.compile(r"kind: Connect")
_DETAILS = "\n\nDebug source:"
_TOO_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "MaxMessageLengthExceeded"})
_PASSING = frozenset(
    {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "OperationAborted", "InternalError", "ServerBusy"}
)
_PASSING_STATUS = frozenset({408, 409, 412, 425, 429})
_CLIENT_ERRORS = 400
_SERVER_ERRORS = 500
TOO_MANY_REQUESTS = 429
SLOW_DOWN = 503


def outcome_of(error: BaseException, *, sent_body: bool = True) -> DestinationError:
    """The outcome to raise for what the library raised."""
    whole = str(error)
    status, code = _number(whole), _CODE.search(whole)
    name = code[1] if code else ""
    text = _shown(whole, status, name) or type(error).__name__
    found: DestinationError
    if status is None:
        unknown = bool(_TIMED_OUT.search(whole)) and not _NOT_SENT.search(whole)
        return Retry(text, outcome_unknown=unknown and sent_body)
    if status == 413 or name in _TOO_LARGE:
        found = Rejected(text)
    elif status >= _SERVER_ERRORS or status in _PASSING_STATUS or name in _PASSING:
        found = Retry(text)
        status = TOO_MANY_REQUESTS if status == SLOW_DOWN else status  # S3, Google and Azure all mean "slower"
    elif status < _CLIENT_ERRORS:
        found = CredentialsRefused(f"moved, which is not followed; write the final address, or the region: {text}")
    else:
        found = CredentialsRefused(text)
    return found.answered(status, _excerpt(whole))


def code_of(error: BaseException) -> tuple[int | None, str]:
    """The HTTP status behind an error, and the store's own code for it."""
    found = _CODE.search(str(error))
    return _number(str(error)), found[1] if found else ""


def _number(text: str) -> int | None:
    match = _STATUS.search(text)
    return int(match[1]) if match else None


def _shown(whole: str, status: int | None, name: str) -> str:
    """The first line, without queries, which may have a signature in them, and without the answer's XML."""
    text = _QUERY.sub("", whole.partition(_DETAILS)[0].partition("<?xml")[0])
    text = _IN_FRONT.sub("", " ".join(text.split()).rstrip(": "))
    detail = f" ({name})" if name and name not in text else ""
    return f"{text[:MAX_TEXT]}{detail}"


def _excerpt(whole: str) -> str:
    _, mark, answer = whole.partition(_DETAILS)[0].partition("<?xml")
    return f"{mark}{answer}".strip()

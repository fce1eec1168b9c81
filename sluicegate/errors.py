"""Every error that Sluicegate raises on purpose, as one tree.

SluicegateError
├── ConfigError            the configuration has mistakes; carries all of them
├── NotRunning             no running system answers at this port and data directory
│   └── NotSent            the part of it that was to be asked was not found, so it got nothing; try again
├── Refused                the system answered and said no; the reason says what to do
├── BodyRefused            a request's body as a whole cannot be accepted; none of its events was
├── LogError               the event log cannot do what was asked
│   ├── LogUnavailable     it cannot take events now; try again later
│   │   └── ConsentUnreadable  the consent ledger cannot be read, so nothing may be delivered
│   └── LogDamaged         what is on disk cannot be trusted; never repaired silently
│       ├── LogTooNew      a newer version has written it; this one leaves it alone
│       ├── PageDamaged    SQLite cannot follow a page of it; the rest can often be saved
│       └── RowDamaged     some events cannot be read any more; the others can
├── StaleEpoch             a destination that has been replaced tried to commit
└── DestinationError       raised by destination plugins (sluicegate.destinations.base)
    ├── NotReady           cannot start now; try again with backoff
    │   └── NotInstalled   cannot start before somebody installs what is missing; not tried again by itself
    ├── CredentialsRefused the vendor does not accept us; pauses until an operator resumes
    ├── Retry              this batch failed in a way that may pass
    └── Rejected           the vendor will never take some of these events
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

MAX_SHOWN = 80
"""Characters of a value in a problem's text; enough to recognise it."""


class SluicegateError(Exception):
    """Base of every error raised on purpose; its text tells the user what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, what stands there, why it is wrong, what to write.

    `value` is as the file has it, with secrets masked; None when nothing stands there.
    """

    key: str
    value: object
    reason: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = self.key if self.value is None else f"{self.key} = {_shown(self.value)}"
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return " ".join(f"{place}: {self.reason}{hint}".splitlines())


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


class ConfigError(SluicegateError):
    """The configuration has mistakes; `problems` lists all of them, `source` names the file."""

    def __init__(self, problems: Sequence[Problem], *, source: str) -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class NotRunning(SluicegateError):
    """No running system answers; start one with `sluicegate serve`."""


class NotSent(NotRunning):
    """The actor that was to be asked was not found, so this request has not left; it is safe to try again."""


class Refused(SluicegateError):
    """The running system refused a request; the text says why."""


class BodyRefused(SluicegateError):
    """A body was refused as a whole: `code` for programs, the text for people, `status` for HTTP (400 or 413)."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        self.code = code
        self.message = message
        self.status = status
        super().__init__(message)


class LogError(SluicegateError):
    """The event log cannot do what was asked."""


class LogUnavailable(LogError):
    """The log cannot take events now (disk full, locked); nothing was stored, try again later."""


class ConsentUnreadable(LogUnavailable):
    """The consent ledger cannot be read, so nobody knows what may be delivered; events wait."""


class LogDamaged(LogError):
    """The log's file is missing, damaged, or of a newer schema; it is never replaced silently."""


class LogTooNew(LogDamaged):
    """A newer version of Sluicegate has written this; upgrade, nothing was changed."""


class PageDamaged(LogDamaged):
    """A page of the database does not make sense; `sluicegate fsck` says what is left."""


class RowDamaged(LogDamaged):
    """The events of one row cannot be read back; they are in the quarantine ledger."""


class StaleEpoch(SluicegateError):
    """A destination's store has been claimed by a newer epoch; the older one must stop."""


class DestinationError(SluicegateError):
    """Base of what a destination plugin raises to say how a call ended.

    `status` is the HTTP status of the vendor's answer and `response` the beginning of its body, if there were any; they
    are kept with the dead letter.
    """

    status: int | None = None
    response: str = ""

    def answered(self, status: int, response: str = "") -> Self:
        """The same error with what the vendor answered."""
        self.status, self.response = status, response
        return self


class NotReady(DestinationError):
    """`initialize` or `test` could not succeed now; the load is tried again with backoff."""


class NotInstalled(NotReady):
    """What a type needs is not installed; the text has the command. Not tried again before `sluicegate retry`."""


class CredentialsRefused(DestinationError):
    """The vendor refuses us as a whole (401, 403, 404, 410, 3xx); pauses, never dead-letters."""


class Retry(DestinationError):
    """The batch may succeed later; `after_s` is the vendor's own wish (Retry-After), if any.

    `outcome_unknown`: the request went out and no answer came, so the vendor may have the batch.
    """

    after_s: float | None = None
    outcome_unknown: bool = False

    def __init__(self, reason: str, *, after_s: float | None = None, outcome_unknown: bool = False) -> None:
        self.after_s = after_s
        self.outcome_unknown = outcome_unknown
        super().__init__(reason)


class Rejected(DestinationError):
    """The vendor will never take these events.

    With a text for `reasons` the batch was refused as a whole: nothing of it was stored, and it is bisected
    until the bad event is alone. With a mapping of index to reason those events alone are refused; the
    others were stored when `rest_delivered`, and are sent again without the bad ones when not.
    """

    reasons: str | Mapping[int, str] = ""
    rest_delivered: bool = True

    def __init__(self, reasons: str | Mapping[int, str], *, rest_delivered: bool = True) -> None:
        self.reasons = reasons
        self.rest_delivered = rest_delivered
        super().__init__(reasons if isinstance(reasons, str) else f"{len(reasons)} events rejected")

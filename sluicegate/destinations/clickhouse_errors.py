"""What an error of ClickHouse means for a batch, by its code (src/Common/ErrorCodes.cpp)."""

from __future__ import annotations

from clickhouse_connect.driver.exceptions import ClickHouseError, DataError

from sluicegate.destinations.pools import refusal_behind
from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry

_REFUSED = frozenset({81, 164, 192, 193, 194, 195, 291, 497, 516})
"""UNKNOWN_DATABASE, READONLY, UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, IP_ADDRESS_NOT_ALLOWED,
DATABASE_ACCESS_DENIED, ACCESS_DENIED, AUTHENTICATION_FAILED."""
_REJECTED = frozenset({6, 26, 27, 32, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 407, 441, 469, 691})
"""CANNOT_PARSE_..., ARGUMENT_OUT_OF_BOUND, CANNOT_CONVERT_TYPE, INCORRECT_DATA, TOO_LARGE_STRING_SIZE, nulls where none
may be, DECIMAL_OVERFLOW, VIOLATED_CONSTRAINT: these rows, whenever they come."""


def outcome_of(error: Exception) -> DestinationError:
    """The outcome to raise for an error of the library, of its HTTP client or of the network."""
    refused = refusal_behind(error)
    if refused is not None:
        return CredentialsRefused(str(refused))
    code = getattr(error, "code", None)
    lines = str(error).splitlines()
    text = f"ClickHouse: {lines[0][:400] if lines else type(error).__name__}"
    if isinstance(error, ClickHouseError):
        if code in _REFUSED:
            return CredentialsRefused(text)
        if code in _REJECTED or isinstance(error, DataError):
            return Rejected(text)
    return Retry(text)

"""What an error of PostgreSQL means for a batch, by its SQLSTATE (PostgreSQL 17, appendix A)."""

from __future__ import annotations

import re

import psycopg

from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry

_REFUSED = ("28", "42501", "3D000", "3F000", "0LP01")
"""Wrong password, missing permission, no such database or schema."""
_NO_UNIQUE_ID = "42P10"
_REJECTED = ("22", "23", "54")
"""Data exceptions, integrity violations, program limits: these rows, whenever they come."""
_REFUSED_AT_CONNECT = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied|does not exist|not permitted"
    r"|does not support SSL|certificate",
    re.IGNORECASE,
)
"""Errors while connecting have no SQLSTATE in libpq; a server that speaks another language is tried again."""


def outcome_of(error: psycopg.Error, *, connecting: bool = False) -> DestinationError:
    """The outcome to raise for an error."""
    code = error.sqlstate or ""
    text = f"PostgreSQL: {reason(error)}"
    if connecting and not code and _REFUSED_AT_CONNECT.search(str(error)):
        return CredentialsRefused(text)
    if code.startswith(_REFUSED):
        return CredentialsRefused(text)
    if code == _NO_UNIQUE_ID:
        return CredentialsRefused(f"{text}; a table that was here before needs one: CREATE UNIQUE INDEX ON it (id)")
    if code.startswith(_REJECTED):
        return Rejected(text)
    if isinstance(error, psycopg.DataError) and not code:
        return Rejected(text)
    return Retry(text)


def reason(error: psycopg.Error) -> str:
    """What happened in one line, without the values of rows, which PostgreSQL puts into the details."""
    primary = error.diag.message_primary
    if primary is None:
        return " ".join(str(error).split())[:300]
    place = ".".join(filter(None, (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)))
    return f"{primary}{f' ({place})' if place else ''} [{error.sqlstate}]"

"""What `GetStatus` answers: the loading states joined with the accounts on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sluicegate.accounts import Account, oldest_pending_ms
from sluicegate.actors.records import Records
from sluicegate.config.model import DestinationConfig
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.loading.status import LoadingStatus
from sluicegate.messages.status import DestinationStatus

REMOVED = "removed"
"""The state of a destination that is not configured any more, and the reason why it gets nothing."""


def describe(
    states: Sequence[LoadingStatus],
    destinations: Mapping[str, DestinationConfig],
    records: Records,
) -> tuple[DestinationStatus, ...]:
    """The full status of each; opens the log and the stores for reading and closes them again.

    The states' times are of `time.monotonic`. One whose store cannot be read has an account of zeros.
    """
    log = SqliteLog(records.data_dir.event_log, create=False, reader=None)
    try:
        accounts = records.accounts([state.id for state in states], head=log.head())
        arrived_ms = oldest_pending_ms(log, [account.cursor for account in accounts.values() if account.pending])
    finally:
        log.close()
    to_unix_s = time.time() - time.monotonic()
    described = []
    for state in states:
        account = accounts.get(state.id)
        lag_s = 0.0
        if account is not None and account.cursor in arrived_ms:
            lag_s = max(0.0, time.time() - arrived_ms[account.cursor] / 1000)
        described.append(_join(state, destinations[state.id], account, lag_s=lag_s, to_unix_s=to_unix_s))
    return tuple(described)


def describe_removed(records: Records) -> tuple[DestinationStatus, ...]:
    """Of each destination that is not configured any more: what waited for it and what came since is filtered.

    Its cursor stays where it was: should it come back, it goes on from there, as far as the log still has the events.
    """
    if not records.removed:
        return ()
    log = SqliteLog(records.data_dir.event_log, create=False, reader=None)
    try:
        accounts = records.accounts(records.removed, head=log.head())
    finally:
        log.close()
    return tuple(_removed(id, account) for id, account in sorted(accounts.items()))


def _removed(id: str, account: Account) -> DestinationStatus:
    return DestinationStatus(
        id=id,
        type="",
        state=REMOVED,
        reason="not in the configuration, or not enabled; it goes on where it was when it comes back",
        epoch=account.epoch,
        accepted=account.accepted,
        delivered=account.delivered,
        held=account.held,
        dead=account.dead,
        denied=account.denied + account.pending,
        expired=account.expired,
        denied_by={**account.denied_by, REMOVED: account.pending},
        expired_by=dict(account.expired_by),
        redacted=account.redacted,
    )


def _join(
    state: LoadingStatus, destination: DestinationConfig, account: Account | None, *, lag_s: float, to_unix_s: float
) -> DestinationStatus:
    def unix(at: float | None) -> float | None:
        return None if at is None else at + to_unix_s

    accepted = account or Account(0, 0, 0, 0, 0, 0, 0, {}, 0, 0)
    return DestinationStatus(
        id=state.id,
        type=destination.type,
        state=state.state.value,
        loading=state.loading,
        loaded=state.loaded,
        error=state.error,
        last_attempt=unix(state.last_attempt),
        retry_count=state.retry_count,
        next_attempt_at=unix(state.next_attempt_at),
        reason=state.reason,
        epoch=state.epoch,
        pid=state.pid,
        loaded_at=unix(state.loaded_at),
        last_used=unix(state.last_used),
        lag_events=accepted.pending,
        lag_seconds=lag_s,
        accepted=accepted.accepted,
        delivered=accepted.delivered,
        pending=accepted.pending,
        held=accepted.held,
        dead=accepted.dead,
        denied=accepted.denied,
        expired=accepted.expired,
        denied_by=dict(accepted.denied_by),
        expired_by=dict(accepted.expired_by),
        redacted=accepted.redacted,
        breaker=state.breaker,
        unknown_outcomes=state.unknown_outcomes,
        delivered_unenforced=state.delivered_unenforced,
        overrides_plugin_consent=destination.override_plugin_consent,
    )

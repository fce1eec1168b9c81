"""What the `consent` commands have decided, for the destinations that want to hear of it; the system may run or not."""

from __future__ import annotations

from sluicegate.acceptance.notice import listeners, notice_of
from sluicegate.config import Config
from sluicegate.consent.evidence import Told
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.errors import LogError, Refused
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir


def tell_listeners(where: DataDir, config: Config | None, told: Told, *, now_ms: int) -> None:
    """Store an event about a decision that is in the ledger; raises `Refused` when that fails.

    Nothing is stored where nobody wants to hear of it, before the first start, and of people who are suppressed.
    """
    names = () if config is None else listeners(config)
    if config is None or not names or not where.event_log.exists() or _is_suppressed(where, config, told):
        return
    seen = SeenIds.of(config.log)
    try:
        log = SqliteLog(where.event_log, create=False, seen=seen)
        try:
            log.load_seen(now_ms=now_ms)
            log.append([notice_of(told, received_ms=now_ms)], received_at_ms=now_ms)
            head = log.head()
        finally:
            log.close()
    except LogError as error:
        raise Refused(f"recorded, but {', '.join(names)} cannot hear of it: {error}; say it again") from error
    bell = Bell(where.bell)
    bell.ring(head)
    bell.close()


def _is_suppressed(where: DataDir, config: Config, told: Told) -> bool:
    reader = LedgerReader(where.consent, where.consent_key, Rules.of(config.consent))
    try:
        reader.refresh()
        return reader.of_many([told.subject])[0].is_suppressed
    finally:
        reader.close()

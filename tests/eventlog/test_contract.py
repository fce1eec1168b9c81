from __future__ import annotations

from pathlib import Path

from sluicegate.eventlog.base import EventLog
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.eventlog_contract import DurableEventLogContract, EventLogContract


class TestMemoryLog(EventLogContract):
    def open_log(self, path: Path) -> EventLog:
        return MemoryLog()


class TestSqliteLog(DurableEventLogContract):
    factory = "sluicegate.eventlog.sqlite:SqliteLog"

    def open_log(self, path: Path) -> EventLog:
        return SqliteLog(path)

"""The keys of the event log."""

from __future__ import annotations

from sluicegate.config.keys.key import DAY_S, Key, Kind, Table
from sluicegate.config.model import MIB, LogConfig

LOG = Table(
    "log",
    "The event log: what counts as sent twice, how long events are kept, how full the disk may get.",
    (
        Key(
            "dedup_window",
            Kind.DURATION,
            "An event that comes again this soon, with the same messageId from the same source, is not stored again; "
            "0 or false stores every one.",
            "dedup_window_s",
            0,
            30 * DAY_S,
            "ids are held in memory",
        ),
        Key(
            "dedup_max_ids",
            Kind.COUNT,
            "Most messageIds to remember, at about 90 bytes of memory each; beyond it the oldest are forgotten "
            "before the window ends.",
            "",
            16,
            100_000_000,
            "ids are held in memory",
        ),
        Key(
            "retention",
            Kind.DURATION,
            "How long events are kept that all destinations have dealt with.",
            "retention_s",
            0,
            365 * DAY_S,
            "the log is no archive; configure a destination of type file",
        ),
        Key(
            "max_age",
            Kind.DURATION,
            "Older events expire even if a destination still waits for them.",
            "max_age_s",
            60,
            365 * DAY_S,
            "a destination needs time to be loaded",
        ),
        Key(
            "max_size",
            Kind.SIZE,
            "When the log is larger, the oldest events expire even if a destination still waits for them.",
            "max_bytes",
            16 * MIB,
            1024 * 1024 * MIB,
            "a few batches must fit",
        ),
        Key(
            "min_free",
            Kind.SIZE,
            "With less free space on the disk, or less than min_free_percent, events are refused with 503.",
            "min_free_bytes",
            0,
            1024 * 1024 * MIB,
            "cursors and dead letters need space when events no longer get any",
        ),
        Key(
            "min_free_percent",
            Kind.COUNT,
            "The same as a part of the disk; the greater of the two counts.",
            "",
            0,
            90,
            "most of the disk is for use",
        ),
    ),
    LogConfig,
)

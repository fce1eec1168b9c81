"""The keys of how destinations are loaded."""

from __future__ import annotations

from sluicegate.config.keys.key import DAY_S, Key, Kind, Table
from sluicegate.config.model import SupervisorConfig

SUPERVISOR = Table(
    "supervisor",
    "How destinations are started, tried again and stopped.",
    (
        Key(
            "idle_ttl",
            Kind.DURATION,
            "A destination without events for this long is stopped; the next event starts it again.",
            "idle_ttl_s",
            0.1,
            30 * DAY_S,
            "stopping at once would start a process for every event",
        ),
        Key(
            "max_loaded",
            Kind.COUNT,
            "Most destinations loaded at a time; the one idle for longest makes room, else the one in an outage whose "
            "next attempt is furthest away.",
            "",
            1,
            10_000,
            "each loaded destination is a process",
        ),
        Key(
            "spawn_timeout",
            Kind.DURATION,
            "How long a destination may take to load.",
            "spawn_timeout_s",
            0.1,
            3_600,
            "loading starts a process and may call the vendor",
        ),
        Key(
            "retry_delay",
            Kind.DURATION,
            "Wait after the first failed load; doubles with every further one.",
            "retry_delay_s",
            0.01,
            3_600,
            "failing loads must not use up the processor",
        ),
        Key(
            "retry_cap",
            Kind.DURATION,
            "Longest wait between two loads.",
            "retry_cap_s",
            0.01,
            DAY_S,
            "a vendor that is back should be noticed within a day",
        ),
        Key(
            "max_retries",
            Kind.COUNT,
            "Failed loads tried again before the destination is quarantined.",
            "",
            0,
            1_000,
            "0 quarantines at the first failure",
        ),
        Key(
            "load_batch_size",
            Kind.COUNT,
            "Destinations that `load` and `preload` start at the same time.",
            "",
            1,
            100,
            "each load starts a process",
        ),
        Key(
            "stall_timeout",
            Kind.DURATION,
            "A call to a vendor that runs longer is taken for hung, and its process is started anew.",
            "stall_timeout_s",
            1,
            DAY_S,
            "a healthy vendor may take seconds to answer",
        ),
        Key(
            "memory_shed_percent",
            Kind.COUNT,
            "When so much of the memory is in use, destinations that have nothing to deliver are stopped, "
            "the one idle for longest first; 0 stops none.",
            "",
            0,
            99,
            "at 100 nobody would be left to do it",
        ),
        Key(
            "memory_keep_percent",
            Kind.COUNT,
            "They are stopped until no more than this is in use.",
            "",
            1,
            98,
            "it has to be less than memory_shed_percent",
        ),
    ),
    SupervisorConfig,
)

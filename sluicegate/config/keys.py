"""Every key that Sluicegate itself reads, as rows: parsing, template and reference page all come from here.

Defaults are not repeated: a row names the field of the model that it fills.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sluicegate.config.model import (
    KIB,
    MIB,
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    LogConfig,
    SupervisorConfig,
)
from sluicegate.config.units import format_duration, format_rate, format_size

DAY_S = 86_400.0


class Kind(Enum):
    """How the value of a key is written."""

    FLAG = "true or false"
    COUNT = "whole number"
    SIZE = "size"
    DURATION = "duration"
    RATE = "rate"
    SPECIAL = "own form"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `field` of the model takes it; numbers lie in `low` to `high`, for the reason `why`."""

    name: str
    kind: Kind
    help: str
    field: str = ""
    low: float = 0
    high: float = 0
    why: str = ""
    sample: str = ""
    """What the template shows where the model has no default that TOML could write."""
    sample_is_default: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file and the model that it becomes."""

    name: str
    help: str
    keys: tuple[Key, ...]
    model: type[Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in the order of the rows."""
        return tuple(key.name for key in self.keys)


def default_of(table: Table, key: Key) -> Any:
    """The model's default for a key; None when it has none."""
    for field in dataclasses.fields(table.model) if table.model is not None else ():
        if field.name == (key.field or key.name) and field.default is not dataclasses.MISSING:
            return field.default
    return None


def default_text(table: Table, key: Key) -> str:
    """The default as TOML; empty when there is none."""
    value = default_of(table, key)
    if key.kind is Kind.FLAG:
        return "true" if value else "false"
    if value is None or key.kind is Kind.SPECIAL:
        return key.sample if key.sample_is_default else ""
    return number_text(key, value) if key.kind is Kind.COUNT else f'"{number_text(key, value)}"'


def number_text(key: Key, value: float) -> str:
    """A number in the unit of its key."""
    if key.kind is Kind.DURATION:
        return format_duration(value)
    if key.kind is Kind.RATE:
        return format_rate(value)
    return format_size(int(value)) if key.kind is Kind.SIZE else str(int(value))


_LISTEN = f'"{GatewayConfig().host}:{GatewayConfig().port}"'

TOP = Table(
    "",
    "Keys outside of any table.",
    (
        Key(
            "data_dir",
            Kind.SPECIAL,
            "Where events, cursors and keys are kept; a relative path starts at the folder of this file.",
            sample='"data"',
            sample_is_default=True,
        ),
    ),
)

GATEWAY = Table(
    "gateway",
    "The HTTP entrance.",
    (
        Key(
            "listen", Kind.SPECIAL, "Address and port; port 0 takes a free one.", sample=_LISTEN, sample_is_default=True
        ),
        Key(
            "write_keys",
            Kind.SPECIAL,
            "Who may send: source name to write key (at least 8 characters, no spaces or colons).",
            sample='{ web = "${WEB_WRITE_KEY}" }',
        ),
        Key(
            "regulation_keys",
            Kind.SPECIAL,
            "Who may erase and suppress people over HTTP (POST /v1/regulations): name to key, like write_keys. Nobody "
            "when left out; write keys do not suffice, because browsers hold them.",
            sample='{ privacy = "${REGULATION_KEY}" }',
        ),
        Key(
            "cors_origins",
            Kind.SPECIAL,
            'Web pages that may send: origins, or "*" for all.',
            sample='["*"]',
            sample_is_default=True,
        ),
        Key(
            "max_event_size",
            Kind.SIZE,
            "Largest event; a larger one is rejected by itself.",
            "max_event_bytes",
            KIB,
            16 * MIB,
            "vendors take no larger ones",
        ),
        Key(
            "max_batch_size",
            Kind.SIZE,
            "Largest batch.",
            "max_batch_bytes",
            KIB,
            64 * MIB,
            "a batch is held in memory as a whole",
        ),
        Key(
            "max_batch_events",
            Kind.COUNT,
            "Most events in one batch.",
            "",
            1,
            100_000,
            "a batch is held in memory as a whole",
        ),
        Key(
            "max_body_size",
            Kind.SIZE,
            "Largest request body, before and after decompression.",
            "max_body_bytes",
            KIB,
            256 * MIB,
            "a body is held in memory as a whole",
        ),
        Key(
            "max_depth",
            Kind.COUNT,
            "Deepest nesting of an event's JSON.",
            "",
            4,
            256,
            "deeper JSON exhausts the stack of whoever parses it",
        ),
        Key(
            "analytics_js",
            Kind.SPECIAL,
            "File that pages with Segment's script tag get: dist/umd/standalone.js of the npm package "
            "@segment/analytics-next; a relative path starts at the folder of this file, empty for none.",
            sample='""',
            sample_is_default=True,
        ),
    ),
    GatewayConfig,
)

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
            "Most destinations loaded at a time; the one idle for longest makes room.",
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
            "Destinations that are loaded at the same time.",
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
    ),
    SupervisorConfig,
)

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

ACTORS = Table(
    "actors",
    "The actor system, which Python applications and the admin script talk to.",
    (Key("port", Kind.COUNT, "Loopback port; 0 takes a free one.", "actor_port", 0, 65_535, "ports end there"),),
    Config,
)

LOGS = Table(
    "logs",
    "Log lines: of the launcher and the gateway to standard error, of everything else to logs/actors.log.",
    (
        Key(
            "level",
            Kind.SPECIAL,
            "From which level on: debug (also what becomes of every single event), info, warning, error.",
            sample='"info"',
            sample_is_default=True,
        ),
        Key(
            "format",
            Kind.SPECIAL,
            "console for people, json for programs, auto: console on a terminal and json elsewhere.",
            sample='"auto"',
            sample_is_default=True,
        ),
    ),
)

NETWORK = Table(
    "network",
    "What destinations may connect to: public addresses always, loopback and private ones only when listed here.",
    (
        Key(
            "allow",
            Kind.SPECIAL,
            "Private addresses, networks or host names that destinations may connect to; checked at every connection. "
            "A name is trusted with whatever it resolves to. Metadata services of clouds need an entry of their own.",
            sample='["10.1.0.0/16", "receiver.internal"]',
        ),
    ),
)

PURPOSES = Table(
    "purposes",
    "What consent can be given for, besides necessary, functionality, experience, measurement and marketing.",
    (
        Key("custom", Kind.SPECIAL, "Purposes of your own.", sample='["newsletter"]'),
        Key(
            "ALIAS",
            Kind.SPECIAL,
            "What your consent tool calls a purpose, and the purpose it stands for.",
            sample='"measurement"',
        ),
    ),
)

CONSENT = Table(
    "consent",
    "What silence means and where, how long consent lasts, and how long events wait for it.",
    (
        Key(
            "model",
            Kind.SPECIAL,
            "What silence means: no (opt-in) or yes (opt-out).",
            sample='"opt-in"',
            sample_is_default=True,
        ),
        Key(
            "jurisdiction_header",
            Kind.SPECIAL,
            "Request header in which your CDN names the visitor's country; only if clients cannot set it themselves.",
            sample='"CF-IPCountry"',
        ),
        Key(
            "jurisdictions",
            Kind.SPECIAL,
            'Country or part of one to model, "*" for all others; what is not found is opt-in.',
            sample='{ US = "opt-out", US-CA = "opt-out" }',
        ),
        Key(
            "honor_gpc",
            Kind.SPECIAL,
            "Where Global Privacy Control denies: always, opt-out (where the model is that), never.",
            sample='"opt-out"',
            sample_is_default=True,
        ),
        Key(
            "gpc_purposes",
            Kind.SPECIAL,
            "Which purposes it denies.",
            sample='["marketing"]',
            sample_is_default=True,
        ),
        Key("honor_dnt", Kind.FLAG, "Whether the older header DNT: 1 denies the same purposes."),
        Key(
            "consent_ttl",
            Kind.DURATION,
            "How long a grant lasts; 0 for no end.",
            "ttl_s",
            0,
            3_650 * DAY_S,
            "who consented ten years ago does not know it",
        ),
        Key(
            "require_policy",
            Kind.SPECIAL,
            "Version of your privacy policy that grants must name (policyVersion); any when left out.",
            sample='"2026-11"',
        ),
        Key(
            "on_undecided",
            Kind.SPECIAL,
            "What becomes of an event while nobody has said yes or no: hold, or drop.",
            sample='"hold"',
            sample_is_default=True,
        ),
        Key(
            "hold_ttl",
            Kind.DURATION,
            "How long an event is held for a decision, from its arrival on.",
            "hold_ttl_s",
            1,
            30 * DAY_S,
            "held events are stored personal data",
        ),
        Key(
            "hold_max",
            Kind.COUNT,
            "Most held events of one subject at one destination; what comes then is not held.",
            "",
            1,
            100_000,
            "held events are stored personal data",
        ),
        Key(
            "hold_total",
            Kind.COUNT,
            "Most held events of all subjects together at one destination; what comes then is not held.",
            "",
            1,
            100_000_000,
            "held events take space on the disk",
        ),
        Key(
            "history_ttl",
            Kind.DURATION,
            "How long the history of consent is kept; what holds now is kept without end.",
            "history_ttl_s",
            3_600,
            36_500 * DAY_S,
            "the history is what proves consent",
        ),
        Key(
            "audit_ttl",
            Kind.DURATION,
            "How long is kept, for each event and destination, how it ended and by which version of the ledger.",
            "audit_ttl_s",
            3_600,
            36_500 * DAY_S,
            "decisions that are gone cannot be proved",
        ),
    ),
    ConsentConfig,
)

COMPAT = Table(
    "compat",
    "Where other routers do otherwise.",
    (
        Key(
            "segment_missing_consent",
            Kind.SPECIAL,
            'With "allow", events that say nothing at all about consent go wherever nobody has refused, as with '
            "Segment; they are counted as delivered_unenforced.",
            sample='"allow"',
        ),
    ),
)

DESTINATION = Table(
    "destinations.ID",
    "One destination; all keys that are not listed here are the type's own settings.",
    (
        Key("type", Kind.SPECIAL, "Which kind of destination; the id when left out.", sample='"webhook"'),
        Key(
            "requires",
            Kind.SPECIAL,
            'Purposes that must be granted, always to be given: ["a", "b"] or { all = [...] }, or one of several '
            'with { any = [...] }. ["necessary"] needs no consent.',
            sample='{ all = ["measurement", "functionality"] }',
        ),
        Key("enabled", Kind.FLAG, "Whether events are delivered to it."),
        Key(
            "events",
            Kind.SPECIAL,
            "Event types that it gets (track, identify, page, screen, group, alias); all when left out.",
            sample='["track"]',
        ),
        Key(
            "batch_size",
            Kind.COUNT,
            "Most events in one delivery; may only lower what the type declares.",
            "",
            1,
            100_000,
            "a batch is held in memory as a whole",
            "100",
        ),
        Key(
            "batch_bytes",
            Kind.SIZE,
            "Largest delivery, though one event always travels; may only lower what the type declares.",
            "",
            KIB,
            64 * MIB,
            "a batch is held in memory as a whole",
            '"100KiB"',
        ),
        Key(
            "batch_age",
            Kind.DURATION,
            "How long events wait for others to fill a delivery with; what the type declares when left out, mostly 0s.",
            "batch_age_s",
            0,
            3600,
            "events lie in the log meanwhile, and are delivered that much later",
            '"30s"',
        ),
        Key(
            "in_flight",
            Kind.COUNT,
            "Deliveries at the same time, each for other subjects; may only lower what the type declares.",
            "",
            1,
            64,
            "each is a thread",
            "1",
        ),
        Key(
            "timeout",
            Kind.DURATION,
            "How long the vendor may take to answer; less than supervisor.stall_timeout.",
            "timeout_s",
            0.05,
            DAY_S,
            "a shorter time is over before a connection stands",
        ),
        Key(
            "rate_limit",
            Kind.RATE,
            "Most events a second, with bursts of one second's worth; no limit when left out.",
            "rate_per_s",
            1 / 3600,
            1_000_000,
            "less than one an hour is no delivery",
            '"100/s"',
        ),
        Key(
            "dead_letter_age",
            Kind.DURATION,
            "Dead letters older than this lose their events; they stay counted.",
            "dead_letter_age_s",
            60,
            3650 * DAY_S,
            "somebody should have the time to look at them",
        ),
        Key(
            "dead_letter_size",
            Kind.SIZE,
            "Room for the events of dead letters; beyond it the oldest lose theirs.",
            "dead_letter_bytes",
            KIB,
            1024**4,
            "they lie on the disk of the event log",
        ),
        Key("test_on_load", Kind.FLAG, "Whether the type's connection test runs before the first delivery."),
        Key(
            "receives_consent_events",
            Kind.FLAG,
            "Whether it is told when somebody's consent changes, whatever that consent is: ids, preferences and time.",
        ),
        Key(
            "tcf_vendor_id",
            Kind.COUNT,
            "Its vendor's number in IAB Europe's framework (TCF): then the TC string must allow that vendor too.",
            "",
            1,
            65_535,
            "the vendor list has 16 bits for it",
            "755",
        ),
        Key(
            "override_plugin_consent",
            Kind.FLAG,
            "Whether `requires` stands alone, without what the type itself requires; logged, and shown in the status.",
        ),
        Key(
            "on_undecided",
            Kind.SPECIAL,
            "What becomes of its events while nobody has said yes or no: hold, or drop; as in [consent] when left out.",
            sample='"drop"',
        ),
        Key(
            "on_denied",
            Kind.SPECIAL,
            "What becomes of an event when consent that is required was refused by the time it was collected: drop, or "
            "redact, which sends it without ids, addresses and traits ([consent.md](consent.md#redacting)).",
            sample='"drop"',
            sample_is_default=True,
        ),
        Key("map", Kind.SPECIAL, "Changes to events on their way out: a table of its own, see below.", sample="{}"),
    ),
    DestinationConfig,
)

MAP = Table(
    "destinations.ID.map",
    "Changes to events on their way to one destination.",
    (
        Key("only", Kind.SPECIAL, "Names of the events that go out; `*` stands for any text.", sample='["Order *"]'),
        Key("skip", Kind.SPECIAL, "Names of the events that do not.", sample='["Product List Viewed"]'),
        Key(
            "user_id", Kind.SPECIAL, "The place that `userId` is taken from, if it is there.", sample='"traits.crm_id"'
        ),
        Key("anonymous_id", Kind.SPECIAL, "The same for `anonymousId`.", sample='"context.device.id"'),
        Key(
            "rename",
            Kind.SPECIAL,
            "Old place to new place.",
            sample='{ "properties.total" = "properties.revenue" }',
        ),
        Key("drop", Kind.SPECIAL, "Places that are removed.", sample='["context.ip", "properties.products[].margin"]'),
        Key("hash", Kind.SPECIAL, "Places whose text becomes its SHA-256.", sample='["traits.email"]'),
        Key("add", Kind.SPECIAL, "Place to value.", sample='{ "properties.site" = "shop" }'),
    ),
)

TABLES = (TOP, GATEWAY, LOG, SUPERVISOR, ACTORS, LOGS, NETWORK, PURPOSES, CONSENT, COMPAT, DESTINATION, MAP)

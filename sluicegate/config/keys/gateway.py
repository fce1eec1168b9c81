"""The keys of the HTTP entrance."""

from __future__ import annotations

from sluicegate.config.keys.key import Key, Kind, Table
from sluicegate.config.model import KIB, MIB, GatewayConfig

_LISTEN = f'"{GatewayConfig().host}:{GatewayConfig().port}"'

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
            "Who may send: source name to write key (at least 8 characters, no spaces or colons), or to the hash of "
            "one.",
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
            "Largest batch, decompressed.",
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

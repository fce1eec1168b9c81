"""The keys of consent: its purposes, its rules, and where other routers do otherwise."""

from __future__ import annotations

from sluicegate.config.keys.key import DAY_S, Key, Kind, Table
from sluicegate.config.model import ConsentConfig

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

"""The configuration as values that have been checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.config.secret import Secret, keyed_digest
from sluicegate.logs import LogFormat, LogStyle
from sluicegate.mapping.model import MapConfig
from sluicegate.network import Network

KIB = 1024
MIB = 1024 * KIB

DEFAULT_TIMEOUT_S = 30.0
BUILT_IN_PURPOSES = ("necessary", "functionality", "experience", "measurement", "marketing")


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which purposes must be granted: every one of `all` and, when `any` is not empty, at least one of `any`."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()

    @property
    def purposes(self) -> tuple[str, ...]:
        """Every purpose that is looked at, once each."""
        return tuple(dict.fromkeys(self.all + self.any))

    def joined(self, purposes: Iterable[str]) -> Requirement:
        """This requirement with more purposes that must all be granted; it only ever gets stricter."""
        return Requirement(tuple(dict.fromkeys((*purposes, *self.all))), self.any)


def vendor_purpose(vendor_id: int) -> str:
    """The purpose that stands for consent to one vendor of IAB Europe's framework, decided by TC strings."""
    return f"tcf:{vendor_id}"


@dataclass(frozen=True, slots=True)
class PurposesConfig:
    """`[purposes]`: names for purposes besides the built-in ones; all names are case-sensitive."""

    custom: tuple[str, ...] = ()
    """Purposes of the operator's own."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """What a consent tool calls a purpose, and the purpose it stands for; never an alias of an alias."""
    vendors: tuple[int, ...] = ()
    """Vendors of IAB Europe's framework whose consent some destination needs (`tcf_vendor_id`)."""

    @property
    def known(self) -> tuple[str, ...]:
        """Every purpose that a destination may require: the built-in ones, then the custom ones."""
        return BUILT_IN_PURPOSES + self.custom

    @property
    def stored(self) -> tuple[str, ...]:
        """Every purpose that the ledger has room for whatever clients send: the known ones, and those of vendors."""
        return self.known + tuple(map(vendor_purpose, self.vendors))

    def resolve(self, name: str) -> str:
        """The purpose that this name stands for: itself unless it is an alias."""
        return self.aliases.get(name, name)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`[gateway]`: what it listens on, who may send, and how much.

    The limits are Segment's (segment.com/docs/connections/sources/catalog/libraries/server/http-api).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free port."""
    write_keys: Mapping[str, Secret] = field(default_factory=dict)
    """Source name to the key that its requests carry."""
    regulation_keys: Mapping[str, Secret] = field(default_factory=dict)
    """Who may erase and suppress people over HTTP, by name; nobody when empty."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins whose browsers may send; `*` for all."""
    max_event_bytes: int = 32 * KIB
    max_batch_bytes: int = 500 * KIB
    max_batch_events: int = 2_500
    max_body_bytes: int = 4 * MIB
    max_depth: int = 64
    analytics_js: Path | None = None
    """The script that pages with Segment's script tag get; None for none."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`[log]`: what is recognised as sent twice, how long events are kept, and how full the disk may get."""

    dedup_window_s: float = 24 * 3_600.0
    """0 for no deduplication."""
    dedup_max_ids: int = 2_000_000
    """At about 90 bytes of memory each."""
    retention_s: float = 24 * 3_600.0
    """Events are kept this long when all destinations have dealt with them, for `explain` and for people."""
    max_age_s: float = 7 * 24 * 3_600.0
    """Older events expire, whoever waits for them."""
    max_bytes: int = 10 * 1024 * MIB
    """When the log is larger, the oldest events expire."""
    min_free_bytes: int = 512 * MIB
    min_free_percent: int = 5
    """With less free space than the greater of the two, no events are accepted."""


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """`[supervisor]`: how destinations are started, tried again and stopped."""

    idle_ttl_s: float = 300.0
    max_loaded: int = 50
    spawn_timeout_s: float = 30.0
    retry_delay_s: float = 1.0
    retry_cap_s: float = 300.0
    max_retries: int = 3
    load_batch_size: int = 3
    stall_timeout_s: float = 60.0
    memory_shed_percent: int = 80
    memory_keep_percent: int = 75


class ConsentModel(StrEnum):
    """What silence means: no (opt-in) or yes (opt-out)."""

    OPT_IN = "opt-in"
    OPT_OUT = "opt-out"


class HonorGpc(StrEnum):
    """Where Global Privacy Control denies."""

    ALWAYS = "always"
    OPT_OUT = "opt-out"
    NEVER = "never"


class OnUndecided(StrEnum):
    """What becomes of an event while nobody has said yes or no."""

    HOLD = "hold"
    DROP = "drop"


class OnDenied(StrEnum):
    """What becomes of an event when consent that its destination requires was refused."""

    DROP = "drop"
    REDACT = "redact"
    """It goes without the person in it."""


@dataclass(frozen=True, slots=True)
class ConsentConfig:
    """`[consent]`: what silence means and where, how long consent lasts, and how long events wait for it."""

    model: ConsentModel = ConsentModel.OPT_IN
    jurisdiction_header: str = ""
    """Request header that names the jurisdiction, in lower case; empty to trust none."""
    jurisdictions: Mapping[str, ConsentModel] = field(default_factory=dict)
    honor_gpc: HonorGpc = HonorGpc.OPT_OUT
    gpc_purposes: tuple[str, ...] = ("marketing",)
    honor_dnt: bool = False
    ttl_s: float = 396 * 86_400.0
    """Thirteen months, after which IAB Europe's TCF Policies want people to be asked again; 0 for no end."""
    require_policy: str = ""
    """Version of the privacy policy that grants must name; empty when any will do."""
    on_undecided: OnUndecided = OnUndecided.HOLD
    hold_ttl_s: float = 1_800.0
    hold_max: int = 200
    """Held events of one subject."""
    hold_total: int = 1_000_000
    history_ttl_s: float = 5 * 365 * 86_400.0
    """How long it is provable who consented when."""
    audit_ttl_s: float = 396 * 86_400.0
    """How long it is provable what became of an event; as long as a grant lasts."""
    allow_unasked: bool = False
    """`compat.segment_missing_consent`: events that say nothing about consent go as if silence meant yes."""


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """`[destinations.ID]`: the keys that all types share; `settings` has the type's own."""

    id: str
    type: str
    requires: Requirement
    enabled: bool = True
    events: tuple[str, ...] = ()
    """Event types that it wants; empty for all."""
    batch_size: int | None = None
    batch_bytes: int | None = None
    batch_age_s: float | None = None
    """How long events wait for a batch to fill; None for what the type declares."""
    in_flight: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    rate_per_s: float | None = None
    """Most events a second; None for no limit."""
    dead_letter_age_s: float = 14 * 86_400.0
    dead_letter_bytes: int = 1024 * MIB
    test_on_load: bool = False
    receives_consent_events: bool = False
    """Whether it gets notices that somebody's consent has changed."""
    tcf_vendor_id: int | None = None
    """Its vendor's number in IAB Europe's framework, whose consent it then needs too."""
    override_plugin_consent: bool = False
    """Whether `requires` stands alone, without what the type requires."""
    on_undecided: OnUndecided | None = None
    """None for what `[consent]` says."""
    on_denied: OnDenied = OnDenied.DROP
    map: MapConfig = field(default_factory=MapConfig)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    network: Network = Network()  # noqa: RUF009  (frozen)
    """`[network]`, which is the same for all; each carries it because its process is given nothing else."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, checked."""

    data_dir: Path
    gateway: GatewayConfig
    supervisor: SupervisorConfig
    destinations: Mapping[str, DestinationConfig]
    actor_port: int = 0
    """Loopback port of the actor system; 0 picks a free one at start."""
    purposes: PurposesConfig = field(default_factory=PurposesConfig)
    logs: LogStyle = LogStyle(format=LogFormat.AUTO)  # noqa: RUF009  (frozen)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every text that nothing may show: keys, tokens, headers, values of variables that are named like one."""
    log: LogConfig = field(default_factory=LogConfig)
    consent: ConsentConfig = field(default_factory=ConsentConfig)

    def encode(self) -> bytes:
        """For the actors' configuration message; holds secrets in the clear."""
        return msgspec.msgpack.encode(self, enc_hook=_reveal)

    @classmethod
    def decode(cls, data: bytes) -> Config:
        """The configuration in these bytes."""
        return msgspec.msgpack.decode(data, type=cls, dec_hook=_restore)


def consent_of(destination: DestinationConfig, consent: ConsentConfig) -> ConsentConfig:
    """What counts for one destination."""
    own = destination.on_undecided
    return consent if own is None else replace(consent, on_undecided=own)


def redacts_for(destination: DestinationConfig) -> str | None:
    """The id of a destination where refused events go redacted, None of one where they do not go."""
    return destination.id if destination.on_denied is OnDenied.REDACT else None


def config_hash(destination: DestinationConfig) -> str:
    """Tells whether a destination is configured as it was; secrets count too, and can't be tried out on it."""
    return keyed_digest(msgspec.msgpack.encode(destination, enc_hook=_reveal))


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _restore(kind: type, value: Any) -> Any:
    return kind(value)

"""The configuration as values that have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.config.secret import Secret

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which purposes must be granted: `all` of them, or `any` one of them."""

    purposes: tuple[str, ...]
    any: bool = False


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`[gateway]`: what it listens on, who may send, and how much (Segment's limits, segment.com/docs/connections/sources/catalog/libraries/server/http-api)."""

    host: str = "127.0.0.1"
    port: int = 8080
    write_keys: Mapping[str, Secret] = field(default_factory=dict)
    max_event_bytes: int = 32 * KIB
    max_batch_bytes: int = 500 * KIB
    max_batch_events: int = 2_500
    max_body_bytes: int = 4 * MIB
    max_depth: int = 64


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
    in_flight: int | None = None
    timeout_s: float = 30.0
    test_on_load: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, checked."""

    data_dir: Path
    gateway: GatewayConfig
    supervisor: SupervisorConfig
    destinations: Mapping[str, DestinationConfig]
    actor_port: int = 0
    """Loopback port of the actor system; 0 picks a free one at start."""

    def encode(self) -> bytes:
        """For the actors' configuration message; holds secrets in the clear."""
        return msgspec.msgpack.encode(self, enc_hook=_reveal)

    @classmethod
    def decode(cls, data: bytes) -> Config:
        """The configuration in these bytes."""
        return msgspec.msgpack.decode(data, type=cls, dec_hook=_restore)


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _restore(kind: type, value: Any) -> Any:
    return kind(value)

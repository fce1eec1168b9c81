"""What one client may take from the gateway: sizes, times, numbers."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.config.model import KIB, MIB, GatewayConfig

MAX_CHUNK_OVERHEAD_BYTES = 64 * 1024
"""Chunk sizes, extensions and trailers of one body, besides an eighth of the body."""
FREE_CHUNKS = 4_096
MIN_CHUNK_BYTES = 64
"""Mean size of chunks beyond the free ones; each costs about a microsecond."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests and connections; a request beyond one is answered with 4xx or 503, never hung.

    Times and the body rate follow Kestrel's defaults, tightened
    (learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options); the line is nginx's
    `large_client_header_buffers` (nginx.org/en/docs/http/ngx_http_core_module.html).
    """

    max_body_bytes: int = 4 * MIB
    """Of a body as sent, and again of the body when decompressed."""
    max_head_bytes: int = 32 * KIB
    """Request line and all header fields together."""
    max_fields: int = 100
    max_line_bytes: int = 8 * KIB
    """The request target, or one header field."""
    head_timeout_s: float = 10.0
    """From the first byte of a request to the end of its header."""
    body_timeout_s: float = 30.0
    """From the end of the header to the end of the body."""
    min_body_rate: float = 240.0
    """Bytes per second that a body must arrive with, once `body_grace_s` has passed."""
    body_grace_s: float = 5.0
    keep_alive_s: float = 75.0
    """An idle connection's life; longer than the 60 s after which load balancers close theirs."""
    answer_timeout_s: float = 60.0
    """For a request that is complete, however slow the disk is or a destination that has to confirm."""
    write_timeout_s: float = 30.0
    """For a client that does not read its answers."""
    linger_s: float = 2.0
    """How long a refused client may keep sending, so that it gets to read the answer (RFC 9112, 9.6)."""
    max_requests: int = 1_000
    """Requests in hand, over all connections."""
    max_connections: int = 10_000
    max_buffered_bytes: int = 64 * MIB
    """Bodies in memory, over all connections."""
    max_pipelined: int = 8
    """Unanswered requests of one connection before it is no longer read."""
    drain_s: float = 3.0
    """For the requests in hand when the process is told to end."""

    @classmethod
    def of(cls, config: GatewayConfig) -> Limits:
        """The defaults with what the configuration sets."""
        return cls(max_body_bytes=config.max_body_bytes)

"""Header lines that let browsers of other origins send events (fetch.spec.whatwg.org, CORS protocol)."""

from __future__ import annotations

from collections.abc import Iterable

MAX_AGE_S = 86_400
_METHODS = b"GET, POST, HEAD, OPTIONS"


class Cors:
    """Which origins may send, and what their browsers are told."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = b"*" in self._origins

    def lines(self, origin: bytes | None) -> bytes:
        """Header lines for the answer to a request of this origin; empty for programs that are not browsers.

        The origin is echoed rather than `*`, because pages that send credentials are refused with `*`. Without
        `Retry-After` exposed, analytics-next cannot read it and comes back too early.
        """
        if origin is None:
            return b""
        if not self._any and origin not in self._origins:
            return b"Vary: Origin\r\n"
        return (
            b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n"
            b"Access-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n" % origin
        )

    def preflight_lines(self, origin: bytes | None, requested: bytes | None) -> bytes:
        """Header lines for the answer to OPTIONS: every header that the browser asks for is allowed."""
        lines = self.lines(origin)
        if not lines.startswith(b"Access"):
            return lines
        allowed = b"Access-Control-Allow-Headers: %b\r\n" % requested if requested else b""
        return b"%b%bAccess-Control-Allow-Methods: %b\r\nAccess-Control-Max-Age: %d\r\n" % (
            lines,
            allowed,
            _METHODS,
            MAX_AGE_S,
        )

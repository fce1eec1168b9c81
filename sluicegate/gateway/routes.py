"""What the gateway answers at which path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from sluicegate.event import EventType
from sluicegate.gateway.answer import Answer, refusal

if TYPE_CHECKING:
    from sluicegate.gateway.exchange import Exchange

Handler = Callable[["Exchange"], None]

SINGLE_PATHS = {kind: (f"/v1/{kind}", f"/v1/{kind[0]}") for kind in EventType}
"""One event a request; the short forms are those of analytics-next."""
JITSU_PATHS = {
    kind: (f"/api/s/{kind}", f"/api/s/s2s/{kind}")
    for kind in EventType
    if kind not in (EventType.SCREEN, EventType.ALIAS)
}
"""Where @jitsu/js sends; it has no other types."""
PIXEL_PATHS = {kind: (f"/pixel/v1/{kind}", f"/v1/pixel/{kind}") for kind in (EventType.TRACK, EventType.PAGE)}
"""An event in the query of an image: RudderStack's paths, then Segment's."""
BATCH_PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/batch", "/b")
"""The last two are those of SDKs for phones that are given a host without `/v1`."""
WEBHOOK_PATH = "/v1/webhook"
CLIENT_METRICS_PATH = "/v1/m"
"""Where analytics-next reports about itself; taken and dropped."""
KEY_PLACE = "{writeKey}"
"""Stands in a route's path for a write key."""
_PLACE = re.compile(r"\{(\w+)\}")
"""Stands there for any value."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A path, its one method (HEAD goes with GET, OPTIONS with all), and who handles it."""

    path: str
    method: bytes
    handle: Handler
    at_once: bool = False
    """Whether it is answered without waiting for anything, and so also while too much is in hand."""

    def decide(self, method: bytes) -> Answer | None:
        """The answer to a request of this method that needs no handler and no body; None when it needs them."""
        if method == self.method or (method == b"HEAD" and self.method == b"GET"):
            return None
        if method == b"OPTIONS":
            return _OPTIONS
        if self is UNKNOWN:
            return refusal(404, "not_found", "nothing is here; events go to /v1/batch or /v1/track")
        allowed = b"GET, HEAD, OPTIONS" if self.method == b"GET" else b"POST, OPTIONS"
        answer = refusal(405, "method_not_allowed", f"use {self.method.decode()} for {self.path}")
        return Answer(answer.status, answer.body, headers=((b"Allow", allowed),))


def _nothing(exchange: Exchange) -> None:
    raise NotImplementedError


UNKNOWN = Route("other", b"", _nothing)
"""Stands for every path that is not served, so that metrics have one label for all of them."""


_OPTIONS = Answer(200, b"")


class Routes:
    """Finds the route of a request target."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[bytes, Route] = {}
        self._keyed: list[tuple[bytes, bytes, bytes, Route]] = []
        for route in routes:
            place = _PLACE.search(route.path)
            if place:
                before, after = route.path[: place.start()], route.path[place.end() :]
                self._keyed.append((before.encode(), place[1].encode(), after.encode(), route))
            else:
                self._by_path[route.path.encode()] = route

    def find(self, target: bytes) -> tuple[Route, bytes]:
        """The route and the query; a trailing slash, a scheme and a host do not matter.

        A value in the path, such as a write key, is put in front of the query, by its name.
        """
        route = self._by_path.get(target)
        if route is not None:
            return route, b""
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/"):
            path = _without_authority(path)
        path = path.rstrip(b"/")
        route = self._by_path.get(path)
        return (route, query) if route is not None else self._find_keyed(path, query)

    def _find_keyed(self, path: bytes, query: bytes) -> tuple[Route, bytes]:
        for before, name, after, route in self._keyed:
            if path.startswith(before) and path.endswith(after):
                key = path[len(before) : len(path) - len(after)]
                if key and b"/" not in key:
                    return route, name + b"=" + key.partition(b"&")[0] + (b"&" + query if query else b"")
        return UNKNOWN, query


def _without_authority(path: bytes) -> bytes:
    """The path of a target in absolute form, which servers must accept (RFC 9112, 3.2.2)."""
    _, _, rest = path.partition(b"://")
    _, slash, path = rest.partition(b"/")
    return slash + path


def query_value(query: bytes, name: bytes) -> bytes | None:
    """The first value of a parameter in a query, percent-decoded."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name:
            return unquote_to_bytes(value)
    return None


def event_routes(
    single: Callable[[str], Handler],
    *,
    jitsu: Callable[[str], Handler],
    pixel: Callable[[str], Handler],
    batch: Handler,
    webhook: Handler,
    drop: Handler,
) -> list[Route]:
    """The routes that take events: `single(type)`, `jitsu(type)` and `pixel(type)` make the handlers of one type."""
    routes = [Route(path, b"POST", single(kind)) for kind, paths in SINGLE_PATHS.items() for path in paths]
    routes += [Route(path, b"POST", jitsu(kind)) for kind, paths in JITSU_PATHS.items() for path in paths]
    routes += [Route(path, b"GET", pixel(kind)) for kind, paths in PIXEL_PATHS.items() for path in paths]
    routes += [Route(path, b"POST", batch) for path in BATCH_PATHS]
    routes.append(Route(WEBHOOK_PATH, b"POST", webhook))
    routes.append(Route(CLIENT_METRICS_PATH, b"POST", drop))
    return routes

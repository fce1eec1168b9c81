"""What SDKs ask before they send: the settings of their source, and for script tags the SDK itself.

Everything is told from our own configuration. SDKs that get no answer send no event at all.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import msgspec

from sluicegate.gateway.answer import Answer, refusal
from sluicegate.gateway.auth import WriteKeys
from sluicegate.gateway.exchange import Exchange
from sluicegate.gateway.ingest import UNAUTHORIZED, key_outside_body
from sluicegate.gateway.routes import KEY_PLACE, Route, query_value

log = logging.getLogger(__name__)

SETTINGS_PATHS = (f"/v1/projects/{KEY_PLACE}/settings", f"/projects/{KEY_PLACE}/settings")
"""Of analytics.js, and of the SDKs for phones."""
SOURCE_CONFIG_PATH = "/sourceConfig"
SCRIPT_PATH = f"/analytics.js/v1/{KEY_PLACE}/analytics.min.js"

MAX_AGE_S = 60
"""A key that was taken away counts no longer than this in browsers that have asked."""
SCRIPT_MAX_AGE_S = 3_600
_HOST = re.compile(rb"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]+){3}|\[::1\])(?::[0-9]+)?")
_NO_SCRIPT = refusal(
    404,
    "no_script",
    "this gateway has no analytics.js; set analytics_js in [gateway] to a copy of dist/umd/standalone.js from the npm "
    "package @segment/analytics-next (MIT), e.g. of npm pack @segment/analytics-next",
)


class Sources:
    """Handlers of what SDKs want to know about a source; `script` is the file that script tags get."""

    def __init__(self, keys: WriteKeys, *, script: Path | None = None) -> None:
        self._keys = keys
        self._script = _NO_SCRIPT if script is None else _script_answer(script)

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            *(Route(path, b"GET", self._settings) for path in SETTINGS_PATHS),
            Route(SOURCE_CONFIG_PATH, b"GET", self._source_config),
            Route(SCRIPT_PATH, b"GET", self._get_script),
        ]

    def _settings(self, exchange: Exchange) -> None:
        key = query_value(exchange.query, b"writeKey") or b""
        if self._keys.source(key) is None:
            exchange.reply(UNAUTHORIZED)
            return
        exchange.reply(_json(settings(key.decode(), exchange.headers.get(b"host", b""))))

    def _source_config(self, exchange: Exchange) -> None:
        key = key_outside_body(exchange) or b""
        source = self._keys.source(key)
        exchange.reply(UNAUTHORIZED if source is None else _json(source_config(source, key.decode())))

    def _get_script(self, exchange: Exchange) -> None:
        key = query_value(exchange.query, b"writeKey") or b""
        exchange.reply(UNAUTHORIZED if self._keys.source(key) is None else self._script)


def settings(key: str, host: bytes) -> dict[str, object]:
    """What Segment's SDKs for browsers and phones read: one integration, which is us.

    `apiHost` is the host that was asked, so that a page names it once. Without `apiKey` analytics-next sends events
    without any key, and with `metrics` left out it may report to Segment about itself.
    """
    segment: dict[str, object] = {"apiKey": key}
    if _HOST.fullmatch(host):
        segment["apiHost"] = f"{host.decode()}/v1"
        if _LOOPBACK.fullmatch(host):
            segment["protocol"] = "http"  # the SDK's own default is https
    return {"integrations": {"Segment.io": segment}, "metrics": {"sampleRate": 0}}


def source_config(source: str, key: str) -> dict[str, object]:
    """What RudderStack's SDKs for browsers and phones read: a source that is on, and nothing to load besides.

    `statsCollection` is off, or the SDK would report to RudderStack about itself.
    """
    off = {"enabled": False}
    return {
        "source": {
            "id": source,
            "name": source,
            "writeKey": key,
            "enabled": True,
            "config": {"statsCollection": {"errors": off, "metrics": off}},
            "destinations": [],
        }
    }


def _json(told: dict[str, object]) -> Answer:
    headers = ((b"Cache-Control", b"private, max-age=%d" % MAX_AGE_S),)
    return Answer(200, msgspec.json.encode(told), headers=headers)


def _script_answer(script: Path) -> Answer:
    try:
        content = script.read_bytes()
    except OSError as error:
        log.error("the file that analytics_js names cannot be read, script tags get 404: %s", error)
        return _NO_SCRIPT
    headers = ((b"Cache-Control", b"public, max-age=%d" % SCRIPT_MAX_AGE_S),)
    return Answer(200, content, b"text/javascript; charset=utf-8", headers=headers)

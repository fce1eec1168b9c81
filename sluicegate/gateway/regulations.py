"""Erasing and suppressing people over HTTP: `POST /v1/regulations`, and how one stands."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from sluicegate.acceptance.document import read_object
from sluicegate.config.model import Config
from sluicegate.consent.regulation_call import RegulationCall, read_regulation_call
from sluicegate.delivery.regulating import InForce, described, find, put_in_force
from sluicegate.errors import BodyRefused, LogError
from sluicegate.gateway.answer import DEFECT, Answer, refusal, unavailable
from sluicegate.gateway.auth import WriteKeys, key_of_authorization
from sluicegate.gateway.compression import plain_body
from sluicegate.gateway.exchange import Exchange, reply_all
from sluicegate.gateway.routes import Route, query_value
from sluicegate.gateway.traffic import overloaded
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

PATH = "/v1/regulations"
MAX_WAITING = 16
"""Requests in hand; each takes milliseconds, seconds when a destination's process is stopped."""
_DISABLED = refusal(
    403,
    "regulations_disabled",
    "nobody may erase or suppress people over HTTP; set regulation_keys under [gateway], or use `sluicegate erase`",
)
_UNAUTHORIZED = refusal(
    401, "invalid_regulation_key", "send a regulation key of this system, as Basic user name or as Bearer token"
)
_UNKNOWN = refusal(404, "not_found", "there is no regulation of this id")
_UNAVAILABLE = "the consent ledger cannot be used now; send again later"


class RegulationDesk:
    """Handlers of regulations, for whoever has one of their keys; belongs to the loop, works in a thread of its own.

    A regulation is answered for when it is in force. The running system erases what is left of its subjects after that.
    """

    def __init__(self, config: Config) -> None:
        self._data_dir = DataDir(config.data_dir)
        self._is_enabled = bool(config.gateway.regulation_keys)
        self._keys = WriteKeys(config.gateway.regulation_keys)
        self._max_depth = config.gateway.max_depth
        self._max_body_bytes = config.gateway.max_body_bytes
        self._thread = ThreadPoolExecutor(1, "regulations")
        self._n_waiting = 0

    def routes(self) -> list[Route]:
        """Where they are."""
        return [Route(PATH, b"POST", self._regulate), Route(PATH + "/{id}", b"GET", self._tell)]

    def close(self) -> None:
        """Take no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _regulate(self, exchange: Exchange) -> None:
        body, exchange.body = exchange.body, b""
        if not self._may(exchange):
            return
        encoding = exchange.headers.get(b"content-encoding", b"")
        plain = plain_body(body, encoding=encoding, max_bytes=self._max_body_bytes)
        if isinstance(plain, Answer):
            exchange.reply(plain)
            return
        try:
            call = read_regulation_call(read_object(plain, max_depth=self._max_depth))
        except BodyRefused as refused:
            exchange.reply(refusal(refused.status, refused.code, str(refused)))
            return
        self._work(exchange, lambda: self._put_in_force(call))

    def _tell(self, exchange: Exchange) -> None:
        if self._may(exchange):
            id_ = (query_value(exchange.query, b"id") or b"").decode(errors="replace")
            self._work(exchange, lambda: self._described(id_))

    def _may(self, exchange: Exchange) -> bool:
        """Whether whoever asks has a key; else the request is answered."""
        key = key_of_authorization(exchange.headers.get(b"authorization", b""))
        if self._is_enabled and key is not None and self._keys.source(key) is not None:
            return True
        exchange.reply(_UNAUTHORIZED if self._is_enabled else _DISABLED)
        return False

    def _work(self, exchange: Exchange, work: Any) -> None:
        if self._n_waiting >= MAX_WAITING:
            exchange.reply(overloaded("too many regulations are in hand"))
            return
        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._n_waiting += 1
        doing.add_done_callback(lambda done: self._done(exchange, done))

    def _done(self, exchange: Exchange, done: asyncio.Future[Answer]) -> None:
        self._n_waiting -= 1
        reply_all([exchange], _outcome(done))

    # -- in the thread ----------------------------------------------------------------------------------------------

    def _put_in_force(self, call: RegulationCall) -> Answer:
        return _answer(put_in_force(self._data_dir, call.kind, call.subject_kind, call.ids))

    def _described(self, id_: str) -> Answer:
        regulation = find(self._data_dir, id_)
        if regulation is None:
            return _UNKNOWN
        return Answer(200, msgspec.json.encode({"success": True, "data": {"regulation": described(regulation)}}))


def _outcome(done: asyncio.Future[Answer]) -> Answer:
    """What the thread answers, or why it does not."""
    if done.cancelled():
        return unavailable("stopping", "the system stops; send again later")
    error = done.exception()
    if isinstance(error, LogError):
        log.warning("a regulation was not recorded: %s", error)
        return unavailable("ledger_unavailable", _UNAVAILABLE)
    if error is not None:
        log.error("a regulation failed", exc_info=error)
        return DEFECT
    return done.result()


def _answer(in_force: InForce) -> Answer:
    """202 when destinations have not confirmed: they may still send what they had decided on."""
    body: dict[str, Any] = {"success": True, "data": {"regulateId": in_force.regulation.id}}
    if in_force.late:
        body["late"] = in_force.late
    return Answer(202 if in_force.late else 200, msgspec.json.encode(body))

"""What a person decided, told over HTTP: `POST /v1/consent`; and whether Global Privacy Control is honoured here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import msgspec

from sluicegate.acceptance import write_key_of
from sluicegate.acceptance.document import read_object
from sluicegate.config.model import Config
from sluicegate.consent.call import read_consent_call
from sluicegate.consent.evidence import Evidence, Told
from sluicegate.consent.gpc import WELL_KNOWN_PATH, well_known
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.consent.policy import Policies
from sluicegate.consent.writer import LedgerWriter
from sluicegate.errors import BodyRefused, LogError
from sluicegate.gateway.answer import Answer, refusal, unavailable
from sluicegate.gateway.auth import WriteKeys
from sluicegate.gateway.compression import MAGIC, plain_body
from sluicegate.gateway.exchange import Exchange, fail, reply_all
from sluicegate.gateway.ingest import UNAUTHORIZED, key_outside_body
from sluicegate.gateway.routes import Route
from sluicegate.gateway.traffic import overloaded
from sluicegate.metrics import ConsentCounts
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

PATH = "/v1/consent"
MAX_BODY_BYTES = 32 * 1024
"""As large as an event may be by default; a hundred purposes of the longest name take half of it."""

Answering = Callable[[Mapping[str, object]], None]
AfterWrite = Callable[[Told, Recorded, Answering], None]
"""What happens between a decision being on disk and its answer; calls `Answering` once, with members for the answer.

`Recorded` is of the whole transaction, which may hold the decisions of others too.
"""


class _Waiting(NamedTuple):
    """A request whose decision is on its way to the disk."""

    exchange: Exchange
    told: Told


class ConsentDesk:
    """Handlers of what tells consent; a decision is answered for when it is on disk, and not before.

    `after_write` runs in the loop when decisions have been written, one call for each request, before the answer.
    """

    def __init__(
        self,
        config: Config,
        keys: WriteKeys,
        *,
        after_write: AfterWrite = lambda told, recorded, answer: answer({}),
        counts: ConsentCounts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._keys = keys
        self._after_write = after_write
        self._counts = counts or ConsentCounts()
        self._clock = clock
        self._writer: LedgerWriter[_Waiting] = LedgerWriter(
            self._open_ledger,
            on_recorded=lambda tokens, recorded: self._call(self._recorded, tokens, recorded),
            on_failed=lambda tokens, error: self._call(self._failed, tokens, error),
            history_ttl_s=config.consent.history_ttl_s,
            clock=clock,
        )

    def _open_ledger(self) -> Ledger:
        data_dir = DataDir(self._config.data_dir)
        return Ledger(data_dir.consent, data_dir.consent_key, purposes=self._config.purposes.stored)

    def routes(self) -> list[Route]:
        """Where they are; Global Privacy Control is announced only where it counts."""
        routes = [Route(PATH, b"POST", self._tell)]
        if Policies(self._config.consent).any_honors_gpc:
            since = datetime.fromtimestamp(self._clock(), UTC).date()
            announcement = Answer(200, well_known(since))
            routes.append(Route(WELL_KNOWN_PATH, b"GET", lambda exchange: exchange.reply(announcement)))
        return routes

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    async def close(self, timeout_s: float) -> bool:
        """Write what waits; False when that takes longer."""
        return await self._loop.run_in_executor(None, self._writer.close, timeout_s)

    def _tell(self, exchange: Exchange) -> None:
        """Authorise, read and hand over to the ledger; answer at once if any of it fails."""
        body, exchange.body = exchange.body, b""
        try:
            told = self._read(exchange, body)
        except BodyRefused as refused:
            exchange.reply(refusal(refused.status, refused.code, str(refused)))
            return
        if isinstance(told, Answer):
            exchange.reply(told)
        elif not self._writer.submit([told], _Waiting(exchange, told)):
            exchange.reply(overloaded("the consent ledger is behind"))

    def _read(self, exchange: Exchange, body: bytes) -> Told | Answer:
        """The decision in a request, or what refuses it; raises `BodyRefused`."""
        key = key_outside_body(exchange)
        if key is not None and self._keys.source(key) is None:
            return UNAUTHORIZED
        encoding = exchange.headers.get(b"content-encoding", b"")
        if encoding or body.startswith(MAGIC):
            plain = plain_body(body, encoding=encoding, max_bytes=MAX_BODY_BYTES, key="")
            if isinstance(plain, Answer):
                return plain
            body = plain
        if len(body) > MAX_BODY_BYTES:
            raise BodyRefused("body_too_large", f"send at most {MAX_BODY_BYTES} bytes", status=413)
        if key is None:
            found = write_key_of(body)
            key = b"" if found is None else found.encode("utf-8", "surrogatepass")
        source = self._keys.source(key)
        if source is None:
            return UNAUTHORIZED
        members = read_object(body, max_depth=self._config.gateway.max_depth)
        call = read_consent_call(members, aliases=self._config.purposes.aliases)
        return call.told(evidence=Evidence.API, source=source, received_ms=int(self._clock() * 1_000))

    # -- the ledger's word --------------------------------------------------------------------------------------------

    def _recorded(self, tokens: list[_Waiting], recorded: Recorded) -> None:
        for waiting in tokens:
            self._counts.written[waiting.told.evidence.name.lower()] += 1
            try:
                self._after_write(waiting.told, recorded, partial(_answer, waiting.exchange, recorded))
            except Exception:
                fail(waiting.exchange)

    def _failed(self, tokens: list[_Waiting], error: LogError) -> None:
        log.warning("decisions were not written: %s", error)
        self._counts.unwritten += len(tokens)
        reply_all(
            [waiting.exchange for waiting in tokens],
            unavailable("ledger_unavailable", "the consent ledger cannot be written now; send again later"),
        )

    def _call(self, function: Callable[..., None], *args: object) -> None:
        """From the writer's thread to the loop; a loop that has ended has no clients left to tell."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("the loop has ended")


def _answer(exchange: Exchange, recorded: Recorded, more: Mapping[str, object]) -> None:
    is_known = not (more.get("late") or more.get("untold"))
    status = 200 if is_known else 202  # recorded, and not known to be in force, or heard of, everywhere
    try:
        exchange.reply(Answer(status, msgspec.json.encode({"success": True, "version": recorded.version, **more})))
    except Exception:
        fail(exchange)

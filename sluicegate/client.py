"""Sending events from a Python application to the running system of the same machine.

from sluicegate import Client

with Client("data") as client:
    client.track("Order Completed", user_id="u1", properties={"total": 9.5}, consent={"measurement": True})
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import msgspec

from sluicegate.actors.attached import AttachedSystem, attach
from sluicegate.actors.keys import load_key
from sluicegate.errors import NotRunning, NotSent, Refused, SluicegateError
from sluicegate.messages import ingest
from sluicegate.messages.codec import BadMessage, Message, check
from sluicegate.messages.consent import ConsentRecorded, SetConsent
from sluicegate.messages.ingest import Accepted, ProcessEvents, Verdict
from sluicegate.messages.status import DestinationStatus, GetStatus, Statuses
from sluicegate.paths import DataDir
from sluicegate.running import find_running

log = logging.getLogger(__name__)

ROUTER = "sluicegate.router"
SUPERVISOR = "sluicegate.supervisor"
MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_REQUEST_EVENTS = 2_500
"""What a system takes at once unless its `max_batch_events` says otherwise; it tells when that is less."""
MAX_VERDICTS = 10_000
"""Refused events that are remembered for the next `flush`."""


class Client:
    """Collects events and hands them to the router; an event is stored once `flush` has returned.

    `data_dir` is the running system's data directory, whose key file must be readable; `port` its actor port if that is
    not to be read from the directory. Events are sent when `flush_at` of them have come together, at `flush`
    and at `close`. Each method raises `NotRunning` when no system answers, and keeps the events. Not thread-safe.
    After a fork, parent and child may both go on; what waited then is sent by both, and stored once by its messageId.
    """

    def __init__(
        self,
        data_dir: str | Path = "data",
        *,
        port: int | None = None,
        source: str = "python",
        flush_at: int = 100,
        timeout_s: float = 10.0,
    ) -> None:
        self._data_dir = DataDir(Path(data_dir))
        self._port = port
        self._source = source
        self._flush_at = flush_at
        self._timeout_s = timeout_s
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._verdicts: list[Verdict] = []
        self._sent = 0
        self._system: AttachedSystem | None = None
        self._attached_by = 0
        self._attach()

    # -- events -----------------------------------------------------------------------------------------------------

    def track(self, event: str, *, properties: Mapping[str, Any] | None = None, **common: Any) -> str:
        """What a user did. `common` is user_id, anonymous_id, timestamp, context, integrations, consent, message_id.

        A `timestamp` without an offset is in UTC as a text, and local time as a `datetime`, like `decided_at`.
        Returns the event's message id, as all of these methods do.
        """
        return self._add("track", {"event": event, "properties": properties or {}}, common)

    def identify(self, *, traits: Mapping[str, Any] | None = None, **common: Any) -> str:
        """Who a user is."""
        return self._add("identify", {"traits": traits or {}}, common)

    def page(self, name: str | None = None, *, properties: Mapping[str, Any] | None = None, **common: Any) -> str:
        """Which page a user looked at."""
        return self._add("page", {"name": name, "properties": properties or {}}, common)

    def screen(self, name: str | None = None, *, properties: Mapping[str, Any] | None = None, **common: Any) -> str:
        """Which screen of an app a user looked at."""
        return self._add("screen", {"name": name, "properties": properties or {}}, common)

    def group(self, group_id: str, *, traits: Mapping[str, Any] | None = None, **common: Any) -> str:
        """Which group a user belongs to."""
        return self._add("group", {"groupId": group_id, "traits": traits or {}}, common)

    def alias(self, previous_id: str, *, user_id: str, **common: Any) -> str:
        """Two ids that are the same user."""
        return self._add("alias", {"previousId": previous_id}, {**common, "user_id": user_id})

    def add(self, event: bytes) -> None:
        """An event as JSON, shaped like an item of a Segment batch, with its `type`; it is checked when it is sent.

        Raises `Refused` for one of more than 4 MiB, as all of these methods do: no message can carry it.
        """
        if not isinstance(event, bytes | bytearray | memoryview):
            raise TypeError(f"an event is given as bytes of JSON, not as {type(event).__name__}; encode it first")
        self._enqueue(bytes(event))

    def flush(self) -> list[Verdict]:
        """Send what waits; return why events were refused since the last flush, counted from its first event.

        When it returns, every event without a verdict is on disk. Raises `Refused` or `NotRunning` and keeps the events
        when they could not be stored. Of more than 10,000 refused events the log has the oldest, as a warning.
        """
        while self._waiting:
            self._send_some()
        verdicts, self._verdicts, self._sent = self._verdicts, [], 0
        return verdicts

    def _add(self, kind: str, fields: Mapping[str, Any], common: Mapping[str, Any]) -> str:
        event = _event(kind, fields, common)
        self._enqueue(msgspec.json.encode(event))
        return str(event["messageId"])

    def _enqueue(self, encoded: bytes) -> None:
        if len(encoded) > MAX_REQUEST_BYTES:
            raise Refused(
                f"an event of {len(encoded)} bytes cannot be sent, the most is {MAX_REQUEST_BYTES}; shorten it"
            )
        self._waiting.append(encoded)
        self._waiting_bytes += len(encoded)
        if len(self._waiting) >= self._flush_at or self._waiting_bytes >= MAX_REQUEST_BYTES:
            self._send_some()

    def _send_some(self) -> None:
        count = _fitting(self._waiting[: max(1, min(self._flush_at, MAX_REQUEST_EVENTS))])
        request = ProcessEvents(uuid4().hex, tuple(self._waiting[:count]), source=self._source)
        answer = self._ask(ROUTER, request)
        if isinstance(answer, ingest.Refused):
            if answer.most_events is not None and answer.most_events < count:
                self._flush_at = answer.most_events
                self._send_some()
                return
            raise Refused(answer.reason)
        if not isinstance(answer, Accepted):
            raise NotRunning("the router did not answer in time; the events are kept, call flush() again")
        self._verdicts += [Verdict(v.index + self._sent, v.message_id, v.reason) for v in answer.verdicts]
        n_over = max(0, len(self._verdicts) - MAX_VERDICTS)
        _warn_of(self._verdicts[:n_over])
        del self._verdicts[:n_over]
        self._sent += count
        self._waiting_bytes -= sum(map(len, self._waiting[:count]))
        del self._waiting[:count]

    # -- consent ----------------------------------------------------------------------------------------------------

    def set_consent(
        self,
        preferences: Mapping[str, bool],
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        decided_at: datetime | None = None,
        policy_version: str = "",
    ) -> ConsentRecorded:
        """Tell what a person decided, by default just now: purpose to granted; at least one id is needed.

        When it returns the decision is on disk, and a denial in force: `version` is the ledger's since, `stopped`
        counts by destination the waiting events that will not go now, `in_flight` the calls that had begun before.
        Raises `Refused` for what cannot be recorded, or not be passed on to the destinations that want to hear of it,
        `NotRunning` when no system answers.
        """
        at_ms = None if decided_at is None else int(decided_at.timestamp() * 1_000)
        request = SetConsent(
            uuid4().hex, dict(preferences), user_id, anonymous_id, at_ms, policy_version, source=self._source
        )
        answer = self._ask(ROUTER, request)
        if isinstance(answer, ingest.Refused):
            raise Refused(answer.reason)
        if not isinstance(answer, ConsentRecorded):
            raise NotRunning("the router did not answer in time; the decision may not be recorded, tell it again")
        return answer

    # -- questions --------------------------------------------------------------------------------------------------

    def status(self, *ids: str) -> tuple[DestinationStatus, ...]:
        """The status of these destinations, of all when none is named; raises `Refused` for an unknown id."""
        answer = self.ask_supervisor(GetStatus(uuid4().hex, ids or None))
        if not isinstance(answer, Statuses):
            raise NotRunning("the supervisor did not answer in time")
        return answer.destinations

    def ask_supervisor(self, message: Message, *, timeout_s: float | None = None) -> Message:
        """Send any message of `messages.control` or `messages.status`; raises `Refused` for a refusal."""
        answer = self._ask(SUPERVISOR, message, timeout_s=timeout_s)
        if isinstance(answer, ingest.Refused):
            raise Refused(answer.reason)
        if not isinstance(answer, Message):
            raise NotRunning("the supervisor did not answer in time")
        return answer

    # -- the connection ---------------------------------------------------------------------------------------------

    def _attach(self) -> AttachedSystem:
        if self._system is None or self._attached_by != os.getpid():  # a parent's sockets get the parent's answers
            port = self._port or find_running(self._data_dir).actor_port
            self._system = attach(port=port, key=load_key(self._data_dir.actor_key))
            self._attached_by = os.getpid()
        return self._system

    def _ask(self, name: str, message: Message, *, timeout_s: float | None = None) -> object:
        system = self._attach()
        try:
            check(message)
            address = system.find(name)
            if address is not None:
                return system.ask(address, message, timeout_s=self._timeout_s if timeout_s is None else timeout_s)
        except BadMessage as error:
            raise Refused(str(error)) from None
        except SluicegateError:
            raise
        except BaseException:
            self._detach()  # after Ctrl-C what is under way there would be taken for the answer to the next question
            raise
        self._detach()
        raise NotSent(f"{name} is not running now; it is being restarted, try again")

    def _detach(self) -> None:
        if self._system is not None:
            self._system.close()
            self._system = None

    def close(self, *, flush: bool = True) -> None:
        """Send what waits, unless it is to be given up, and let go of the system.

        Events that were refused, which nobody can ask for any more, are in the log as a warning.
        """
        try:
            if flush:
                _warn_of(self.flush())
        finally:
            self._detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_COMMON = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "timestamp": "timestamp",
    "context": "context",
    "integrations": "integrations",
    "consent": "consent",
    "message_id": "messageId",
}


def _event(kind: str, fields: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(common) - set(_COMMON))
    if unknown:
        raise TypeError(f"{kind}() has no argument {unknown[0]!r}; it takes {', '.join(sorted(_COMMON))}")
    event: dict[str, Any] = {"type": kind, "messageId": str(uuid4()), "timestamp": datetime.now(UTC)}
    event |= {_COMMON[name]: value for name, value in common.items() if value is not None}
    if isinstance(event["timestamp"], datetime):
        with suppress(OverflowError, ValueError):  # the first and the last day that there is may have no other name
            event["timestamp"] = event["timestamp"].astimezone(UTC)
    return event | {name: value for name, value in fields.items() if value is not None}


def _warn_of(verdicts: Sequence[Verdict]) -> None:
    """Say what nobody will ask for."""
    if verdicts:
        log.warning("%d events were refused and are not stored, the first: %s", len(verdicts), verdicts[0].reason)


def _fitting(events: Sequence[bytes]) -> int:
    """How many of these events fit into one request, at least one."""
    total = 0
    for count, event in enumerate(events):
        total += len(event)
        if count and total > MAX_REQUEST_BYTES:
            return count
    return len(events)

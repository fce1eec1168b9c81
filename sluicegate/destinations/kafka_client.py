"""librdkafka as the destination wants it: its configuration, and a producer that knows what is wrong with brokers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from sluicegate.destinations.base import Context
from sluicegate.destinations.foreign import AddressGuard
from sluicegate.destinations.kafka_records import Record
from sluicegate.destinations.kafka_reports import AUTHENTICATION, FATAL, QUEUE_FULL, Failure
from sluicegate.destinations.kafka_settings import KafkaSettings, brokers_of
from sluicegate.errors import CredentialsRefused, Retry

CONNECT_TIMEOUT_S = 5.0
REPORTS_BEFORE_S = 0.8
"""Of the time that a call has: by then the library gives up on a record, so that its report comes in time."""
UNKNOWN_TOPIC_AFTER_MS = 2_000
"""How long a topic may be missing before its records fail: brokers learn of a new one from each other."""
PURGE_TIMEOUT_S = 5.0
_SLICE_S = 0.5
_CHECK_BROKERS_S = 60.0
_MAX_QUEUED_KIB = 64 * 1024
_MIN_TIMEOUT_MS, _MAX_REQUEST_MS = 1_000, 900_000
_MAX_BATCH_BYTES = 1_000_000
"""librdkafka's `batch.size`; a topic takes batches of 1,048,588 bytes unless it says otherwise."""


def configuration(settings: KafkaSettings, context: Context) -> dict[str, Any]:
    """What librdkafka is told (its CONFIGURATION.md), callbacks aside."""
    timeout_ms = max(_MIN_TIMEOUT_MS, int(context.timeout_s * REPORTS_BEFORE_S * 1_000))
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(_address(host, port) for host, port in brokers_of(settings.brokers)),
        "client.id": f"sluicegate-{context.id}",
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": settings.compression,
        "message.max.bytes": settings.max_message_bytes,
        "batch.size": min(settings.max_message_bytes, _MAX_BATCH_BYTES),
        "delivery.timeout.ms": timeout_ms,
        "request.timeout.ms": min(max(_MIN_TIMEOUT_MS, timeout_ms // 2), _MAX_REQUEST_MS),
        "socket.connection.setup.timeout.ms": int(CONNECT_TIMEOUT_S * 1_000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": UNKNOWN_TOPIC_AFTER_MS,
        "allow.auto.create.topics": False,
        "queue.buffering.max.kbytes": max(_MAX_QUEUED_KIB, 2 * context.limits.max_bytes // 1024),
        "queue.buffering.max.messages": max(100_000, 2 * context.limits.max_events),
        "security.protocol": settings.protocol,
        "enable.ssl.certificate.verification": True,
        "log_level": 2,  # what goes wrong is told as the outcome of a call; it would be a line a second for each broker
    }
    if settings.username is not None and settings.password is not None:
        found |= {
            "sasl.mechanisms": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password.reveal(),
        }
    if settings.protocol.endswith("ssl"):
        found |= _certificates(settings)
    return found


class Client:
    """One idempotent producer; for one thread at a time."""

    def __init__(self, settings: KafkaSettings, context: Context) -> None:
        self._guard = AddressGuard(context.network)
        self._connect_timeout_s = min(CONNECT_TIMEOUT_S, context.timeout_s)
        self._brokers = brokers_of(settings.brokers)
        self._errors: dict[int, str] = {}
        self.broken = False
        """Whether librdkafka no longer promises order and no repetitions; only a new producer does again."""
        self._checked_until = 0.0
        for host, port in self._brokers:
            self._guard.check(host, port)
        try:
            self._producer = Producer(configuration(settings, context) | {"error_cb": self._note})
        except KafkaException as error:
            raise CredentialsRefused(f"the client cannot be made as configured: {_failure(error).text}") from error

    def look(self, topics: Sequence[str] = ()) -> dict[str, Failure | None]:
        """Connect, check the addresses that the brokers say they have, and tell what is wrong with these topics.

        Raises `Retry` or `CredentialsRefused`.
        """
        found: dict[str, Failure | None] = {}
        for topic in topics or (None,):
            metadata = self._metadata(topic)
            for broker in metadata.brokers.values():
                self._guard.check(broker.host, broker.port)
            for name, about in metadata.topics.items() if topic is not None else ():
                found[name] = None if about.error is None else _failure(about.error)
        self._checked_until = time.monotonic() + _CHECK_BROKERS_S
        return found

    def send(self, records: Sequence[Record], *, timeout_s: float) -> dict[int, Failure]:
        """Produce all of them and wait until each was reported on; the failures by index.

        When it returns nothing of them is on its way any more. Raises `Retry` or `CredentialsRefused` before anything
        was sent.
        """
        deadline = time.monotonic() + timeout_s
        if time.monotonic() >= self._checked_until:
            self.look()
        self._errors.clear()
        reports = _Reports()
        for record in records:
            failure = self._produce(record, reports, deadline)
            if failure is not None:
                reports.failed[record.index] = failure
        n_left = self._wait(deadline)
        if n_left:
            self.broken = True
        reported = {index: self._explained(failure) for index, failure in reports.failures().items()}
        for record in records:
            if record.index not in reports.delivered:
                reported.setdefault(record.index, _UNREPORTED)
        return reported

    def close(self) -> None:
        """Drop what is queued, which is nothing between calls, and disconnect."""
        self._producer.purge()
        self._serve(_SLICE_S)

    def _produce(self, record: Record, reports: _Reports, deadline: float) -> Failure | None:
        report = reports.reporter(record.index)
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, headers=record.headers, on_delivery=report
                )
            except BufferError:
                if time.monotonic() >= deadline or self.broken:
                    return Failure(QUEUE_FULL, "the queue of the client is full", alone=True)
                self._serve(_SLICE_S)
            except KafkaException as error:
                return _failure(error, alone=True)
            else:
                return None

    def _wait(self, deadline: float) -> int:
        """Serve reports until there are no more to come; how many never came, which is none unless librdkafka hangs."""
        while (left := deadline - time.monotonic()) > 0 and not self.broken and AUTHENTICATION not in self._errors:
            self._serve(min(_SLICE_S, left))
            if not len(self._producer):
                return 0
        self._producer.purge()
        until = time.monotonic() + PURGE_TIMEOUT_S
        while len(self._producer) and time.monotonic() < until:
            self._serve(_SLICE_S)
        return len(self._producer)

    def _serve(self, timeout_s: float) -> None:
        """Wait for reports; the binding raises a fatal error from here, mostly as one of the interpreter's."""
        try:
            self._producer.flush(timeout_s)
        except (KafkaException, SystemError):
            self.broken = True

    def _metadata(self, topic: str | None) -> Any:
        """Ask any broker; the answer as soon as there is one, and an error as soon as it is known to be for good."""
        deadline = time.monotonic() + self._connect_timeout_s
        while True:
            try:
                options = {} if topic is None else {"topic": topic}
                return self._producer.list_topics(timeout=_SLICE_S, **options)
            except KafkaException as error:
                self._producer.poll(0)
                failure = self._explained(_failure(error))
                if failure.code == AUTHENTICATION:
                    raise CredentialsRefused(failure.text) from error
                if time.monotonic() >= deadline:
                    raise Retry(f"no broker can be reached: {failure.text}") from error

    def _note(self, error: KafkaError) -> None:
        self._errors.setdefault(error.code(), error.str())

    def _explained(self, failure: Failure) -> Failure:
        """A failure that only says that time ran out, with what the client knows to be behind it."""
        if failure.code > 0 or not self._errors:
            return failure
        if AUTHENTICATION in self._errors:
            return Failure(AUTHENTICATION, self._errors[AUTHENTICATION])
        return replace(failure, text=f"{failure.text}: {'; '.join(self._errors.values())}")


class _Reports:
    """What was reported on the records of one call.

    Who is not among those delivered is not: the binding may call a reporter while an exception is on its way, and then
    nothing that comes after its first step is sure to happen.
    """

    def __init__(self) -> None:
        self.delivered: set[int] = set()
        self.failed: dict[int, Failure] = {}
        self._errors: dict[int, KafkaError] = {}

    def reporter(self, index: int) -> Callable[[KafkaError | None, object], None]:
        """What librdkafka calls for this record."""
        delivered, errors = self.delivered, self._errors

        def report(error: KafkaError | None, _: object) -> None:
            if error is None:
                delivered.add(index)
            else:
                errors[index] = error

        return report

    def failures(self) -> dict[int, Failure]:
        """What is known of those that failed."""
        return self.failed | {index: _failure(error) for index, error in self._errors.items()}


_UNREPORTED = Failure(FATAL, "the client ended without a report on this record")


def _failure(error: KafkaException | KafkaError, *, alone: bool = False) -> Failure:
    found = error.args[0] if isinstance(error, KafkaException) else error
    return Failure(found.code(), f"{found.name()}: {found.str()}", alone=alone)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _certificates(settings: KafkaSettings) -> dict[str, str]:
    found = {}
    for name, value in (("ca", settings.ca), ("certificate", settings.certificate)):
        if value is not None:
            found[f"ssl.{name}.{'location' if value.startswith('/') else 'pem'}"] = value
    if settings.private_key is not None:
        key = settings.private_key.reveal()
        found[f"ssl.key.{'location' if key.startswith('/') else 'pem'}"] = key
    if settings.private_key_password is not None:
        found["ssl.key.password"] = settings.private_key_password.reveal()
    return found

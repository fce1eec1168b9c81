"""`kafka`: each event is a record, produced by an idempotent producer and acknowledged by all replicas in sync."""

from __future__ import annotations

from typing import Any

import msgspec

from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.kafka_client import Client
from sluicegate.destinations.kafka_records import Record, Records
from sluicegate.destinations.kafka_reports import outcome_of
from sluicegate.destinations.kafka_settings import KafkaSettings
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Plan, Request
from sluicegate.destinations.starting import starting
from sluicegate.errors import CredentialsRefused, NotReady, Retry


class Kafka(Destination):
    """Sends a batch and waits for the report on each of its records."""

    settings_type = KafkaSettings

    def __init__(self, settings: KafkaSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._records = Records(settings)
        self._client: Client | None = None

    def initialize(self) -> None:
        """Connect to the brokers."""
        try:
            self._connected().look()
        except Retry as error:
            self._forget()
            raise NotReady(str(error)) from error

    def test(self) -> None:
        """Ask whether the topics are there that are known beforehand."""
        with starting():
            found = self._connected().look(sorted(self._records.fixed_topics()))
        for topic, failure in found.items():
            if failure is not None:
                raise CredentialsRefused(f"topic {topic}: {failure.text}")

    def deliver(self, batch: Batch) -> Outcome | None:
        """Produce the batch; when it returns or raises, nothing of it is on its way any more."""
        records, rejected = self._records.of(batch)
        if not records:
            return Outcome(rejected=rejected)
        try:
            client = self._connected()
            failures = client.send(records, timeout_s=self.context.timeout_s)
            if client.broken:
                self._forget()
            return outcome_of(records, failures, rejected, n_events=len(batch))
        except CredentialsRefused:
            self._forget()  # it would go on trying to get in
            raise

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """The records as JSON; there is no request to show."""
        records, rejected = self._records.of(batch)
        shown = b",".join(map(_shown, records))
        request = Request("", b"[" + shown + b"]", [record.index for record in records])
        return Plan([request] if records else [], rejected)

    def destroy(self) -> None:
        """Disconnect."""
        self._forget()

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client(self.settings, self.context)
        return self._client

    def _forget(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _shown(record: Record) -> bytes:
    about: dict[str, Any] = {
        "topic": record.topic,
        "key": None if record.key is None else record.key.decode(),
        "headers": dict(record.headers),
        "value": msgspec.Raw(record.value),
    }
    return msgspec.json.encode(about)

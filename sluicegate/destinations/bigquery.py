"""`bigquery`: the warehouse schema in BigQuery by streaming inserts, with an error per row.

A row's `insertId` is the event's id, by which BigQuery drops repeats within about a minute, as well as it can; what is
sent again later is there twice. `users` has a row for every identify. The tables of events come first, so that an
event which BigQuery refuses there is left out of `tracks` as well.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from requests.exceptions import RequestException

from sluicegate.destinations.base import Batch, Context
from sluicegate.destinations.bigquery_errors import Verdict, outcome_of, verdict_of
from sluicegate.destinations.bigquery_session import authorized_session
from sluicegate.destinations.bigquery_settings import BigQuerySettings
from sluicegate.destinations.fields import uuid_of
from sluicegate.destinations.starting import starting
from sluicegate.destinations.warehouse.dialect import BIGQUERY, Dialect
from sluicegate.destinations.warehouse.loading import Warehouse
from sluicegate.destinations.warehouse.plan import Change, Column, Table
from sluicegate.destinations.warehouse.rows import Row
from sluicegate.destinations.warehouse.values import MAX_EXACT, Kind, Stored
from sluicegate.errors import CredentialsRefused, Retry

TYPES = {
    Kind.STRING: "STRING",
    Kind.INT: "INTEGER",
    Kind.FLOAT: "FLOAT",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATETIME: "TIMESTAMP",
    Kind.JSON: "JSON",
}
_KINDS = {text: kind for kind, text in TYPES.items()} | {
    "INT64": Kind.INT,
    "FLOAT64": Kind.FLOAT,
    "NUMERIC": Kind.FLOAT,
    "BIGNUMERIC": Kind.FLOAT,
    "BOOL": Kind.BOOLEAN,
    "DATETIME": Kind.DATETIME,
}
NEW_COLUMN_WAIT_S = 30.0
"""Streaming sees a new table or column only after a while (cloud.google.com/bigquery/docs/error-messages)."""
CHANGE_UNSEEN_S = 600.0
"""So long it may go by the former type of a column (cloud.google.com/bigquery/docs/troubleshoot-storage-api)."""
MAX_INSERT_ID = 128
"""Characters; a row with a longer one is refused (cloud.google.com/bigquery/quotas#streaming_inserts)."""
_OWNER = "sluicegate event: "
"""The description of an event's table begins with this, and says whose it is."""


class BigQuery(Warehouse):
    """Streams rows, a request per table; a table that is not there, or lacks columns, is made ready first."""

    settings_type = BigQuerySettings
    dialect: ClassVar[Dialect] = BIGQUERY

    def __init__(self, settings: BigQuerySettings, context: Context) -> None:
        super().__init__(settings, context)
        self._dataset = bigquery.DatasetReference(settings.project, settings.dataset)
        self._client: bigquery.Client | None = None
        self._widened: dict[Column, float] = {}

    def initialize(self) -> None:
        """Sign in, and make the dataset if it is not there."""
        dataset = bigquery.Dataset(self._dataset)
        dataset.location = self.settings.location
        with starting(), self._asking() as client:
            try:
                client.get_dataset(self._dataset, **self._once)
            except NotFound:
                client.create_dataset(dataset, exists_ok=True, **self._once)

    def test(self) -> None:
        """Ask for the dataset."""
        with starting(), self._asking() as client:
            client.get_dataset(self._dataset, **self._once)

    def destroy(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]

    @property
    def _once(self) -> dict[str, Any]:
        """Arguments of a call that is tried once: trying again is the router's."""
        return {"retry": None, "timeout": self.context.timeout_s}

    def _read_tables(self, names: Collection[str]) -> Mapping[str, Table]:
        found = {}
        with self._asking() as client:
            for name in names:
                try:
                    table = client.get_table(self._dataset.table(name), **self._once)
                except NotFound:
                    continue
                columns = {column.name.lower(): _KINDS.get(column.field_type, Kind.STRING) for column in table.schema}
                found[name] = Table(columns, _owner(table.description or ""))
        return found

    def _count_tables(self) -> int:
        with self._asking() as client:
            return sum(1 for _ in client.list_tables(self._dataset, **self._once))

    def _change_tables(self, changes: Iterable[Change]) -> Collection[Column]:
        fixed: set[Column] = set()
        with self._asking() as client:
            for change in changes:
                if change.is_new:
                    client.create_table(self._creation(change), exists_ok=True, **self._once)
                elif change.add:
                    self._add(client, change)
                fixed |= {(change.table, name) for name in change.widen if not self._widen(client, change.table, name)}
        return fixed

    def _creation(self, change: Change) -> bigquery.Table:
        columns = dict.fromkeys(self.dialect.load_columns, Kind.DATETIME) | change.add
        table = bigquery.Table(self._dataset.table(change.table), schema=_fields(columns))
        table.time_partitioning = bigquery.TimePartitioning(field="loaded_at")
        table.description = None if change.owner is None else _OWNER + change.owner
        return table

    def _add(self, client: bigquery.Client, change: Change) -> None:
        """Add columns to the table as it is now; one that somebody else changes meanwhile is read and planned again."""
        table = client.get_table(self._dataset.table(change.table), **self._once)
        there = {column.name.lower() for column in table.schema}
        missing = {name: kind for name, kind in change.add.items() if name not in there}
        table.schema = [*table.schema, *_fields(missing)]
        try:
            client.update_table(table, ["schema"], **self._once)
        except PreconditionFailed:
            return

    def _widen(self, client: bigquery.Client, table: str, column: str) -> bool:
        """Make a column of whole numbers one of fractions, unless that would change what it has."""
        place = f"`{self._dataset.project}.{self._dataset.dataset_id}.{table}`"
        bounds = f"`{column}` NOT BETWEEN {-MAX_EXACT} AND {MAX_EXACT}"
        if list(client.query_and_wait(f"SELECT 1 FROM {place} WHERE {bounds} LIMIT 1", **self._query)):
            return False
        client.query_and_wait(f"ALTER TABLE {place} ALTER COLUMN `{column}` SET DATA TYPE FLOAT64", **self._query)
        self._widened[table, column] = time.monotonic()
        return True

    def _just_widened(self, table: str) -> set[str]:
        """The columns of a table whose new type streaming may not know yet."""
        since = time.monotonic() - CHANGE_UNSEEN_S
        self._widened = {place: at for place, at in self._widened.items() if at > since}
        return {column for place, column in self._widened if place == table}

    @property
    def _query(self) -> dict[str, Any]:
        timeout_s = self.context.timeout_s
        return {"retry": None, "job_retry": None, "api_timeout": timeout_s, "wait_timeout": timeout_s}

    def _load(self, rows: Mapping[str, Sequence[Row]], batch: Batch) -> Mapping[int, str]:
        refused: dict[int, str] = {}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._asking() as client:
            for table, group in self._in_time(rows):
                wanted = [row for row in group if row.index not in refused]
                if wanted:
                    refused |= self._insert(client, table, rows=wanted, ids=batch.message_ids, now=now)
        return refused

    def _insert(
        self, client: bigquery.Client, table: str, *, rows: Sequence[Row], ids: Sequence[str], now: str
    ) -> dict[int, str]:
        """Stream rows of one table; the events that were refused, or `Retry` when some were not looked at."""
        times = {column: now for column in self.dialect.load_columns if column in self._known[table].columns}
        answers = client.insert_rows_json(
            self._dataset.table(table),
            [times | _as_json(row.data) for row in rows],
            row_ids=[insert_id(ids[row.index]) for row in rows],
            skip_invalid_rows=True,
            **self._once,
        )
        refused, changed = {}, self._just_widened(table)
        for answer in answers:
            verdict, reason = verdict_of(answer["errors"], changed=changed)
            text = f"BigQuery: {table}: {reason}"
            if verdict is Verdict.NOT_YET:
                self.forget()
                raise Retry(text, after_s=NEW_COLUMN_WAIT_S)
            if verdict is Verdict.AGAIN:
                raise Retry(text)
            refused[rows[answer["index"]].index] = text
        return refused

    @contextmanager
    def _asking(self) -> Iterator[bigquery.Client]:
        """The client; whatever fails is told as an outcome of `deliver`."""
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except (GoogleAPIError, GoogleAuthError, RequestException, OSError) as error:
            outcome = outcome_of(error)
            if isinstance(outcome, Retry):
                self.forget()
            raise outcome from error

    def _connect(self) -> bigquery.Client:
        try:
            session = authorized_session(self.settings.credentials.reveal(), self.context.network)
        except (ValueError, GoogleAuthError) as error:
            raise CredentialsRefused("credentials: the key cannot be read; download it anew") from error
        return bigquery.Client(
            project=self.settings.project,
            credentials=session.credentials,
            location=self.settings.location,
            _http=session,
            client_options=ClientOptions(api_endpoint=self.settings.endpoint.rstrip("/")),
        )


def insert_id(message_id: str) -> str:
    """The message id if it may be an `insertId`, else the UUID made of it."""
    return message_id if len(message_id.encode()) <= MAX_INSERT_ID else uuid_of(message_id)


def _fields(columns: Mapping[str, Kind]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField(name, TYPES[kind]) for name, kind in columns.items()]


def _as_json(data: Mapping[str, Stored]) -> dict[str, Stored]:
    """Values as BigQuery reads them: integers that a JSON reader may round go as texts."""
    return {
        column: str(value) if type(value) is int and not -MAX_EXACT <= value <= MAX_EXACT else value
        for column, value in data.items()
    }


def _owner(description: str) -> str | None:
    return description.removeprefix(_OWNER) if description.startswith(_OWNER) else None

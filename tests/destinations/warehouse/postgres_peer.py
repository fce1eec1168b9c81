from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from sluicegate.destinations.postgres import Postgres
from sluicegate.testing.destination_contract import make_destination
from tests.doubles.postgres_cluster import PostgresCluster


class PostgresPeer:
    """A user and a schema of their own in the cluster, and a look into it."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self.cluster = cluster
        self.name = f"u{uuid4().hex[:12]}"
        with cluster.connect() as connection:
            connection.execute(f"CREATE ROLE {self.name} LOGIN PASSWORD '{self.name}'")
            connection.execute(f"CREATE SCHEMA {self.name} AUTHORIZATION {self.name}")

    def make(self, tmp_path: Path, **settings: Any) -> Postgres:
        found = make_destination(Postgres, tmp_path, **self.login() | settings)
        assert isinstance(found, Postgres)
        return found

    def login(self) -> dict[str, Any]:
        """The settings that lead to the schema."""
        return {
            "host": "127.0.0.1",
            "port": self.cluster.port,
            "dbname": "postgres",
            "user": self.name,
            "password": self.name,
            "schema": self.name,
        }

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement finds; the peer's schema is searched first."""
        with self.cluster.connect() as connection:
            connection.execute(f"SET search_path = {self.name}")
            return connection.execute(sql.SQL(statement)).fetchall()

    def run(self, statement: str) -> None:
        with self.cluster.connect() as connection:
            connection.execute(f"SET search_path = {self.name}")
            connection.execute(sql.SQL(statement))

    def tables(self) -> dict[str, dict[str, str]]:
        """The types of all columns by table."""
        found: dict[str, dict[str, str]] = {}
        statement = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = '{}'"
        )
        for table, column, kind in self.rows(statement.format(self.name)):
            found.setdefault(table, {})[column] = kind
        return found

    def ids(self, table: str = "tracks") -> list[str]:
        """The ids in a table in order of arrival; none when there is no table."""
        try:
            return [id_ for (id_,) in self.rows(f'SELECT id FROM "{table}" ORDER BY ctid')]
        except psycopg.errors.UndefinedTable:
            return []

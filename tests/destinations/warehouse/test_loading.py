from __future__ import annotations

import sys
from typing import Any

import pytest

from sluicegate.config.settings import settings_for
from sluicegate.destinations.bigquery_settings import BigQuerySettings
from sluicegate.destinations.clickhouse_settings import ClickHouseSettings
from sluicegate.destinations.postgres_settings import PostgresSettings
from sluicegate.destinations.registry import load_type
from sluicegate.errors import ConfigError, NotInstalled

LIBRARIES = {"postgres": "psycopg", "clickhouse": "clickhouse_connect", "bigquery": "google.api_core"}
KEY = '{"type": "service_account"}'


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str, library: str) -> None:
    monkeypatch.delitem(sys.modules, f"sluicegate.destinations.{name}", raising=False)
    for module in [module for module in sys.modules if module == library or module.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Hidden(library), *sys.meta_path])

    with pytest.raises(NotInstalled, match=rf"needs the module {library}.*pip install 'sluicegate\[{name}\]'"):
        load_type(name)


class Hidden:
    """An import system without one library."""

    def __init__(self, library: str) -> None:
        self._library = library

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._library or name.startswith(f"{self._library}."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (PostgresSettings, {}, "the database is not named once"),
        (PostgresSettings, {"dsn": "postgresql://x", "host": "x"}, "the database is not named once"),
        (PostgresSettings, {"dsn": "postgresql://x", "user": "x"}, "has all of it"),
        (PostgresSettings, {"host": "x"}, "dbname: is missing"),
        (PostgresSettings, {"dsn": "postgresql://x", "schema": 'a"b'}, "schema.*is not a name"),
        (PostgresSettings, {"host": "x", "dbname": "x", "user": "x", "sslmode": "no"}, "sslmode.*verify-full"),
        (PostgresSettings, {"host": "x", "dbname": "x", "user": "x", "port": 0}, "not a port"),
        (PostgresSettings, {"dsn": "postgresql://x", "max_tables": 0}, "max_tables: must be 1 or more"),
        (PostgresSettings, {"dsn": "postgresql://x", "json_columns": ["a b"]}, "json_columns.*is not a name"),
        (ClickHouseSettings, {"url": "clickhouse://x"}, "not a web address"),
        (ClickHouseSettings, {"url": "https://u:p@x"}, "user name or password"),
        (ClickHouseSettings, {"url": "https://x", "database": "a`b"}, "database.*is not a name"),
        (BigQuerySettings, {"project": "UPPER", "credentials": KEY}, "not the id of a project"),
        (BigQuerySettings, {"project": "project-1", "credentials": "{}"}, "not a service account's key"),
        (BigQuerySettings, {"project": "project-1", "credentials": KEY, "dataset": "a-b"}, "dataset.*is not a name"),
        (
            BigQuerySettings,
            {"project": "project-1", "credentials": KEY, "endpoint": "x"},
            "endpoint: not a web address",
        ),
        (BigQuerySettings, {"project": "project-1", "credentials": KEY, "location": "€"}, "not a location"),
    ],
)
def test_wrong_settings_are_told_before_anything_starts(kind: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        settings_for("x", settings, kind)


def test_secrets_do_not_show() -> None:
    found = [
        settings_for("postgres", {"dsn": "postgresql://u:s3cret@x/y"}, PostgresSettings),
        settings_for("clickhouse", {"url": "https://x", "password": "s3cret"}, ClickHouseSettings),
    ]

    assert "s3cret" not in repr(found)

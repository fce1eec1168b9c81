from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import urllib3

from sluicegate.destinations.clickhouse import ClickHouse
from sluicegate.testing.destination_contract import make_destination

PROGRAM = Path(__file__).parents[2] / "doubles" / "clickhouse_server.py"


class ClickHouseServer:
    """ClickHouse's engine in a process of its own, with its HTTP interface on loopback."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sluicegate-clickhouse-")
        self._process = subprocess.Popen([sys.executable, PROGRAM, self._folder], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"

    def answer(self, kind: str) -> None:
        """Tell everybody this from now on: fine, busy or refused."""
        urllib3.request("GET", f"{self.url}/answer/{kind}", retries=False)

    def ask(self, statement: str) -> list[Any]:
        """What a statement finds, each row as a list."""
        answer = urllib3.request(
            "POST",
            f"{self.url}/?default_format=JSONCompactEachRow",
            body=statement.encode(),
            headers=urllib3.make_headers(basic_auth="user:password"),
            retries=False,
        )
        if answer.status != 200:
            raise ValueError(answer.data.decode())
        return [json.loads(line) for line in answer.data.splitlines()]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)


class ClickHousePeer:
    """A database of its own in the server, and a look into it."""

    def __init__(self, server: ClickHouseServer) -> None:
        self.server = server
        self.name = f"d{uuid4().hex[:12]}"

    def make(self, tmp_path: Path, **settings: Any) -> ClickHouse:
        given = {"url": self.server.url, "user": "user", "password": "password", "database": self.name} | settings
        found = make_destination(ClickHouse, tmp_path, **given)
        assert isinstance(found, ClickHouse)
        return found

    def rows(self, columns: str, table: str, order: str = "") -> list[Any]:
        return self.server.ask(f"SELECT {columns} FROM {self.name}.{table} FINAL {order}")

    def tables(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        statement = f"SELECT table, name, type FROM system.columns WHERE database = '{self.name}'"
        for table, column, kind in self.server.ask(statement):
            found.setdefault(table, {})[column] = kind
        return found

    def ids(self, table: str = "tracks") -> list[str]:
        if table not in self.tables():
            return []
        return [id_ for (id_,) in self.rows("id", table, "ORDER BY length(id), id")]

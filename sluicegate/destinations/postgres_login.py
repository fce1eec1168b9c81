"""How to connect to PostgreSQL: libpq's parameters, with addresses that may be connected to."""

from __future__ import annotations

import re
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from sluicegate.destinations.base import Context
from sluicegate.destinations.postgres_settings import PostgresSettings
from sluicegate.destinations.resolving import resolve
from sluicegate.errors import CredentialsRefused
from sluicegate.network import AddressRefused

CONNECT_TIMEOUT_S = 5
_DEFAULT_PORT = "5432"
_PORT = re.compile(r"[0-9]{1,5}")
_LOOPBACK = "127.0.0.1"


class Login:
    """The parameters of `psycopg.connect` for these settings; libpq gets addresses and never asks DNS."""

    def __init__(self, settings: PostgresSettings, context: Context) -> None:
        self._settings = settings
        self._context = context

    def parameters(self) -> dict[str, Any]:
        """The parameters; raises `OSError` when a name has no address, `CredentialsRefused` when none is allowed."""
        given = self._given()
        hosts = [host or "/var/run/postgresql" for host in str(given.get("host") or "").split(",")]
        ports = [port or _DEFAULT_PORT for port in str(given.get("port") or "").split(",")]
        if len(ports) == 1:
            ports *= len(hosts)
        if len(ports) != len(hosts):
            raise CredentialsRefused("the dsn has another number of ports than of hosts; write one for each")
        if not all(_PORT.fullmatch(port) for port in ports):
            raise CredentialsRefused(f"the dsn has a port that is no number; write {_DEFAULT_PORT}, or leave it out")
        try:
            found = [place for host, port in zip(hosts, ports, strict=True) for place in self._places(host, port)]
        except AddressRefused as error:
            raise CredentialsRefused(str(error)) from error
        given |= dict(zip(("host", "hostaddr", "port"), map(",".join, zip(*found, strict=True)), strict=True))
        return given | self._fixed(all(self._is_local(host) for host in hosts), given)

    def _given(self) -> dict[str, Any]:
        settings = self._settings
        if settings.dsn is None:
            given = {"host": settings.host, "port": settings.port, "dbname": settings.dbname, "user": settings.user}
            return given | ({"password": settings.password.reveal()} if settings.password else {})
        try:
            parsed = dict(conninfo_to_dict(settings.dsn.reveal()))
        except ProgrammingError as error:
            raise CredentialsRefused("dsn cannot be read; write postgresql://USER:PASSWORD@HOST/DBNAME") from error
        if parsed.pop("hostaddr", None) or parsed.pop("service", None):
            raise CredentialsRefused("dsn has a hostaddr or a service; name the host in it")
        return parsed

    def _places(self, host: str, port: str) -> list[tuple[str, str, str]]:
        """Host, address and port for each address of a host; a socket in the file system has no address."""
        if host.startswith("/"):
            self._context.network.check("localhost", _LOOPBACK)
            return [(host, "", port)]
        found = resolve(host, int(port), network=self._context.network, timeout_s=CONNECT_TIMEOUT_S)
        return [(host, candidate.address[0], port) for candidate in found]

    def _fixed(self, is_local: bool, given: dict[str, Any]) -> dict[str, Any]:
        timeout_ms = int(self._context.timeout_s * 1000)
        limits = {
            "statement_timeout": timeout_ms,
            "lock_timeout": timeout_ms // 2,
            "idle_in_transaction_session_timeout": 2 * timeout_ms,
            "timezone": "UTC",
        }
        options = [str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in limits.items())]
        default = self._settings.sslmode or given.get("sslmode") or ("prefer" if is_local else "require")
        return {
            "sslmode": default,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": f"sluicegate {self._context.id}",
            "client_encoding": "utf8",
            "tcp_user_timeout": timeout_ms,
            "options": " ".join(options),
        }

    @staticmethod
    def _is_local(host: str) -> bool:
        return host.startswith(("/", "127.")) or host in ("localhost", "::1")

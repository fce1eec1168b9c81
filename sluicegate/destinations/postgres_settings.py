"""Settings of the destination type `postgres`; imports nothing of its library."""

from __future__ import annotations

from typing import ClassVar

from sluicegate.config.declaration import Limits
from sluicegate.config.secret import Secret
from sluicegate.destinations.warehouse.settings import WarehouseSettings, check_name

SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


class PostgresSettings(WarehouseSettings, kw_only=True):
    """Where the database is: a `dsn`, or `host`, `port`, `dbname`, `user` and `password`; `schema` holds the tables.

    `sslmode` is libpq's; without it `require`, and `prefer` on this machine.
    """

    dsn: Secret | None = None
    host: str | None = None
    port: int = 5432
    dbname: str | None = None
    user: str | None = None
    password: Secret | None = None
    sslmode: str | None = None
    schema: str = "sluicegate"

    limits: ClassVar[Limits] = Limits(max_events=5_000, max_bytes=8 * 1024 * 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("schema", self.schema)
        if (self.dsn is None) == (self.host is None):
            raise ValueError("host: the database is not named once; write either dsn, or host, dbname and user")
        if self.dsn is None and not (self.dbname and self.user):
            raise ValueError("dbname: is missing, or user is; write host, dbname and user")
        if self.dsn is not None and (self.dbname or self.user or self.password or self.sslmode):
            raise ValueError("dsn: has all of it; remove dbname, user, password and sslmode, or write host for dsn")
        if self.sslmode not in (None, *SSL_MODES):
            raise ValueError(f"sslmode: not one of libpq's; write {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}")
        if not 0 < self.port < 65536:
            raise ValueError("port: not a port; write 1 to 65535")

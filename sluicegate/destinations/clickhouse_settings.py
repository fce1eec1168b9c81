"""Settings of the destination type `clickhouse`; imports nothing of its library."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from sluicegate.config.declaration import Limits
from sluicegate.config.secret import Secret
from sluicegate.destinations.warehouse.settings import WarehouseSettings, check_name


class ClickHouseSettings(WarehouseSettings, kw_only=True):
    """`url` of the HTTP interface (`https://host:8443`), `user`, `password`, and the `database` for the tables."""

    url: str
    user: str = "default"
    password: Secret | None = None
    database: str = "sluicegate"

    limits: ClassVar[Limits] = Limits(max_events=10_000, max_bytes=16 * 1024 * 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("database", self.database)
        try:
            parts = urlsplit(self.url)
            is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_right = False
        if not is_right:
            raise ValueError("url: not a web address; write https://host:8443")
        if parts.username or parts.password:
            raise ValueError("url: has a user name or password; write user and password as settings of their own")

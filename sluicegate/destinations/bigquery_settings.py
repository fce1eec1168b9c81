"""Settings of the destination type `bigquery`; imports nothing of its library."""

from __future__ import annotations

import json
import re
from typing import ClassVar
from urllib.parse import urlsplit

from sluicegate.config.declaration import Limits
from sluicegate.config.secret import Secret
from sluicegate.destinations.warehouse.settings import WarehouseSettings, check_name

ENDPOINT = "https://bigquery.googleapis.com"
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


class BigQuerySettings(WarehouseSettings, kw_only=True):
    """`project` and `dataset` of the tables, and `credentials`: the JSON text of a service account's key.

    A dataset that is not there is made in `location`; `endpoint` is the service's address.
    """

    project: str
    credentials: Secret
    dataset: str = "sluicegate"
    location: str = "EU"
    endpoint: str = ENDPOINT

    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=2 * 1024 * 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("dataset", self.dataset)
        if not _PROJECT.fullmatch(self.project):
            raise ValueError("project: not the id of a project; write it as the console shows it")
        if not re.fullmatch(r"[A-Za-z0-9-]{2,40}", self.location):
            raise ValueError("location: not a location; write EU, US or a region")
        try:
            parts = urlsplit(self.endpoint)
            is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        except ValueError:
            is_right = False
        if not is_right:
            raise ValueError(f"endpoint: not a web address; leave it out for {ENDPOINT}")
        try:
            is_key = json.loads(self.credentials.reveal()).get("type") == "service_account"
        except (ValueError, AttributeError):
            is_key = False
        if not is_key:
            raise ValueError(
                'credentials: not a service account\'s key; write "${NAME}" of a variable with its JSON text'
            )

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluicegate.config import Config, load
from sluicegate.errors import ConfigError
from sluicegate.mapping.model import MapConfig

HEAD = """
[gateway]
write_keys = { web = "web-key-1" }
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.archive.map]
"""


def map_of(folder: Path, text: str) -> MapConfig:
    path = folder / "sluicegate.toml"
    path.write_text(HEAD + text)
    return load(path, environ={}).destinations["archive"].map


def test_every_key_of_the_table_is_read(tmp_path: Path) -> None:
    found = map_of(
        tmp_path,
        """
        only = ["Order *"]
        skip = ["Order Refunded"]
        user_id = "traits.crm_id"
        anonymous_id = "context.device.id"
        rename = { "properties.total" = "properties.revenue" }
        drop = ["context.ip", "properties.products[].margin"]
        hash = ["traits.email"]
        add = { "properties.site" = "shop" }
        """,
    )

    assert found == MapConfig(
        only=("Order *",),
        skip=("Order Refunded",),
        user_id="traits.crm_id",
        anonymous_id="context.device.id",
        rename={"properties.total": "properties.revenue"},
        drop=("context.ip", "properties.products[].margin"),
        hash=("traits.email",),
        add={"properties.site": "shop"},
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('olny = ["a"]', "only"),
        ("only = []", "must not be empty"),
        ('drop = "context.ip"', "must be a list"),
        ('drop = ["context..ip"]', "is not a place"),
        ('hash = ["messageId"]', "must stay as it is"),
        ("user_id = 3", "must be a place"),
        ('user_id = "a[].b"', "is many places"),
        ("rename = { total = 3 }", "must be a place"),
        ('rename = { total = "type" }', "must stay as it is"),
        ('rename = ["a"]', "must be a table"),
        ('add = { "a[].b" = 1 }', "is many places"),
    ],
)
def test_mistake_in_the_table_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        map_of(tmp_path, text)

    assert reason in str(caught.value)


def test_map_survives_the_way_to_the_actors(tmp_path: Path) -> None:
    path = tmp_path / "sluicegate.toml"
    path.write_text(HEAD + 'add = { "properties.site" = "shop" }\n')
    config = load(path, environ={})

    again: Any = Config.decode(config.encode())

    assert again.destinations["archive"].map == config.destinations["archive"].map

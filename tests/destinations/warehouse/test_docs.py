from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from sluicegate.config import load
from sluicegate.config.plugins import Plugins
from sluicegate.destinations.warehouse.settings import WarehouseSettings

DOCS = Path(__file__).parents[3] / "docs" / "destinations"
ENVIRONMENT = {
    "PG_PASSWORD": "a-password",
    "CLICKHOUSE_PASSWORD": "a-password",
    "GOOGLE_KEY": '{"type": "service_account"}',
}
TYPES = ("postgres", "clickhouse", "bigquery")


@pytest.mark.parametrize("name", TYPES)
def test_example_is_a_valid_configuration(tmp_path: Path, name: str) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)
    path = tmp_path / "sluicegate.toml"
    path.write_text('[gateway]\nwrite_keys = { web = "a-long-enough-key" }\n' + example)

    config = load(path, environ=ENVIRONMENT)

    assert config.destinations["warehouse"].type == name


@pytest.mark.parametrize("name", TYPES)
def test_every_setting_is_described(name: str) -> None:
    settings_type = Plugins.installed().settings_type(name)
    assert settings_type is not None
    page = (DOCS / f"{name}.md").read_text()
    shared = {field.name for field in msgspec.structs.fields(WarehouseSettings)}

    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))

    assert {field.name for field in msgspec.structs.fields(settings_type)} - shared <= described
    assert all(f"`{name}`" in page for name in shared)

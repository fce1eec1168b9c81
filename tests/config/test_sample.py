from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.config import load, template
from sluicegate.config.keys import TABLES, Table
from sluicegate.config.model import Config, PurposesConfig
from sluicegate.config.plugins import SETTINGS_GROUP, Plugins
from sluicegate.config.reference import reference_table, renewed

ENVIRON = {
    "WEB_WRITE_KEY": "web-write-key",
    "CRM_TOKEN": "crm-token",
    "CRM_SECRET": "whsec_" + "A" * 32,
    "REGULATION_KEY": "regulation-key-of-32-characters!!",
}
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
ALL_KEYS = [(table, name) for table in TABLES for name in table.names if name != "ALIAS"]


def uncommented() -> str:
    return re.sub(r"(?m)^#(?=[^ \n])", "", template())


def read(text: str, folder: Path) -> Config:
    path = folder / "sluicegate.toml"
    path.write_text(text)
    return load(path, environ=ENVIRON)


def test_the_template_is_right_as_it_stands(tmp_path: Path) -> None:
    config = read(template(), tmp_path)

    assert list(config.destinations) == ["archive"]


def test_the_template_needs_the_one_variable_it_names() -> None:
    assert set(re.findall(r"^[^#\n]*\$\{(\w+)\}", template(), re.MULTILINE)) == {"WEB_WRITE_KEY"}


def test_the_template_shows_the_defaults(tmp_path: Path) -> None:
    plain, full = read(template(), tmp_path), read(uncommented(), tmp_path)

    assert [*full.gateway.regulation_keys] == ["privacy"]
    gateway = replace(full.gateway, regulation_keys={})
    assert (gateway, full.supervisor, full.actor_port) == (plain.gateway, plain.supervisor, plain.actor_port)
    assert full.purposes == PurposesConfig(("newsletter",), {"analytics": "measurement"}, vendors=(755,))
    assert (full.destinations["crm"].timeout_s, full.destinations["crm"].enabled) == (30.0, True)


@pytest.mark.parametrize(("table", "name"), ALL_KEYS, ids=[f"{table.name}.{name}" for table, name in ALL_KEYS])
def test_the_template_has_every_key(table: Table, name: str) -> None:
    document = tomllib.loads(uncommented())
    for part in table.name.replace("ID", "crm").split(".") if table.name else ():
        document = document[part]

    assert name in document


def test_the_template_is_no_wider_than_a_screen() -> None:
    assert max(map(len, template().splitlines())) <= 110


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_reference_page_has_every_key(table: Table) -> None:
    page = DOCS.read_text()

    assert reference_table(table.name or "top") in page
    assert renewed(page) == page


def test_the_reference_page_has_the_settings_of_every_type() -> None:
    page = DOCS.read_text()
    plugins = Plugins.installed()
    ours = [name for name, entry in plugins.settings.items() if entry.value.startswith("sluicegate.")]

    for name in ours:
        settings = plugins.settings_type(name)
        assert settings is not None, SETTINGS_GROUP
        assert f"`{name}`" in page
        for field in settings.__struct_encode_fields__:
            assert f"| `{name}` | `{field}` |" in page


def test_the_example_on_the_reference_page_is_right(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(data_dir.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "sluicegate.toml").write_text(example[1])

    config = load(
        tmp_path / "sluicegate.toml", environ={"WEB_WRITE_KEY": "web-write-key", "SHOP_WRITE_KEY": "shop-write-key"}
    )

    assert list(config.destinations) == ["archive", "crm"]

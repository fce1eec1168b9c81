from __future__ import annotations

import re
from pathlib import Path

import pytest

from sluicegate.config import load
from sluicegate.config.plugins import Plugins

DOCS = Path(__file__).parents[2] / "docs" / "destinations"
TYPES = (
    "amplitude",
    "bigquery",
    "clickhouse",
    "ga4",
    "kafka",
    "meta",
    "mixpanel",
    "objectstore",
    "postgres",
    "posthog",
    "segment",
    "webhook",
)

SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""In the form of Standard Webhooks."""


@pytest.mark.parametrize("name", TYPES)
def test_page_has_examples_that_are_valid(tmp_path: Path, name: str) -> None:
    examples = re.findall(r"```toml\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)
    assert examples
    for example in examples:
        path = tmp_path / "sluicegate.toml"
        path.write_text('[gateway]\nwrite_keys = { web = "a-long-enough-key" }\n' + example)
        environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), '{"type":"service_account"}')
        environ |= dict.fromkeys(re.findall(r'^secret = "\$\{(\w+)\}"', example, re.MULTILINE), SIGNING_SECRET)

        config = load(path, environ=environ)

        assert {one.type for one in config.destinations.values()} == {name}


@pytest.mark.parametrize("name", TYPES)
def test_page_tells_the_purposes_that_the_type_declares(name: str) -> None:
    settings_type = Plugins.installed().settings_type(name)
    assert settings_type is not None
    page = " ".join((DOCS / f"{name}.md").read_text().split())

    told = re.findall(r"every event needs consent for `(\w+)`", page)

    assert tuple(told) == settings_type.requires
    assert told or "No purposes are built in" in page


def test_overview_tells_purposes_and_costs_of_every_type() -> None:
    page = (DOCS / "README.md").read_text()
    plugins = Plugins.installed()
    for name in TYPES:
        settings_type = plugins.settings_type(name)
        assert settings_type is not None

        (row,) = re.findall(rf"^\| \[`{name}`\]\({name}\.md\) \|.*$", page, re.MULTILINE)

        assert all(f"`{purpose}`" in row for purpose in settings_type.requires)
        assert re.search(r" ms, [\d.]+ MiB \| [\d.]+ MiB \| \d+ us \|$", row)

from __future__ import annotations

import tomllib
from pathlib import Path

from sluicegate.bench.events import WRITE_KEY
from sluicegate.bench.systems import Declared, hooks, toml
from sluicegate.config.reader import load


def test_configuration_has_three_webhooks_with_a_purpose_each(tmp_path: Path) -> None:
    text = toml(tmp_path, 8080, hooks([1, 2, 3]))

    config = tomllib.loads(text)

    assert config["gateway"] == {"listen": "127.0.0.1:8080", "write_keys": {"bench": WRITE_KEY}}
    assert [d["requires"] for d in config["destinations"].values()] == [
        ["measurement"],
        ["functionality"],
        ["marketing"],
    ]
    assert [d["url"] for d in config["destinations"].values()] == [f"http://127.0.0.1:{n}/hook" for n in (1, 2, 3)]


def test_configuration_takes_a_thousand_destinations(tmp_path: Path) -> None:
    declared = {f"d{n}": Declared("file", "marketing", {"path": f"{n}.jsonl"}) for n in range(1_000)}

    assert len(tomllib.loads(toml(tmp_path, 1, declared))["destinations"]) == 1_000


def test_configurations_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    for declared in (hooks([1, 2, 3]), {"cold": Declared("file", "measurement", {"path": str(tmp_path / "cold")})}):
        file.write_text(toml(tmp_path / "data", 8080, declared))

        config = load(file, environ={})

        assert list(config.destinations) == list(declared)

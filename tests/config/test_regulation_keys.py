from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.config import Config, load
from sluicegate.errors import ConfigError

HEAD = '[gateway]\nwrite_keys = { web = "web-write-key" }\nregulation_keys = '


def read(folder: Path, keys: str) -> Config:
    path = folder / "sluicegate.toml"
    path.write_text(HEAD + keys)
    return load(path, environ={})


def test_regulation_keys_have_names_and_are_secret(tmp_path: Path) -> None:
    config = read(tmp_path, '{ privacy = "privacy-key" }')

    assert config.gateway.regulation_keys["privacy"].reveal() == "privacy-key"
    assert "privacy-key" not in repr(config)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ('"privacy-key"', "must be a table"),
        ('{ privacy = "short" }', "gateway.regulation_keys.privacy"),
        ('{ privacy = "web-write-key" }', "is the key of the source web too"),
    ],
)
def test_regulation_keys_that_are_no_keys_of_their_own_are_refused(tmp_path: Path, keys: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, keys)

    assert wrong in str(refused.value)
    assert "web-write-key" not in str(refused.value)

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sluicegate.config
from sluicegate.config import find_data_dir, load
from sluicegate.errors import ConfigError

EXAMPLE = """
data_dir = "data"
[gateway]
listen = "127.0.0.1:8080"
write_keys = { web = "${WEB_WRITE_KEY}", shop = "${SHOP_WRITE_KEY}" }
[supervisor]
idle_ttl = "5m"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.crm]
type = "webhook"
requires = { all = ["measurement", "functionality"] }
url = "https://crm.example/hook"
test_on_load = true
"""
ENVIRON = {"WEB_WRITE_KEY": "web-write-key", "SHOP_WRITE_KEY": "shop-write-key"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sluicegate.toml"
    path.write_text(EXAMPLE)
    return path


def test_a_file_is_read(file: Path) -> None:
    config = load(file, environ=ENVIRON)

    assert config.data_dir == file.parent / "data"
    assert {source: key.reveal() for source, key in config.gateway.write_keys.items()} == {
        "web": "web-write-key",
        "shop": "shop-write-key",
    }
    assert list(config.destinations) == ["archive", "crm"]


def test_the_default_file_is_in_the_current_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)

    assert load(None, environ=ENVIRON).data_dir == file.parent / "data"


def test_a_data_dir_from_the_command_line_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    assert load(file, environ=ENVIRON, data_dir=Path("elsewhere")).data_dir == Path("/elsewhere")


def test_all_mistakes_are_reported_at_once(file: Path) -> None:
    file.write_text(EXAMPLE.replace('"5m"', '"soon"').replace("requires", "require"))

    with pytest.raises(ConfigError) as caught:
        load(file, environ={"WEB_WRITE_KEY": "web-write-key"})

    keys = [problem.key for problem in caught.value.problems]
    assert keys.count("gateway.write_keys.shop") == 1
    assert {"supervisor.idle_ttl", "destinations.archive.requires", "destinations.crm.require"} <= set(keys)
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "content",
    [b"a = ", b"\xff", b"a = " + b"[" * 50_000, b"a = " + b"9" * 50_000, b"a = 1\na = 2", b"#" * (4 << 20) + b"##"],
)
def test_a_file_that_is_no_toml_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError):
        load(file, environ={})


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sluicegate init"):
        load(tmp_path / "none.toml", environ={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, environ={})


@pytest.mark.parametrize("written", ['"~/data"', '""', "3", '"a\\u0000b"', '"${UNSET}"'])
def test_a_data_dir_that_is_no_folder_is_refused(file: Path, written: str) -> None:
    file.write_text(EXAMPLE.replace('"data"', written))

    with pytest.raises(ConfigError, match="data_dir"):
        load(file, environ=ENVIRON)
    with pytest.raises(ConfigError, match="data_dir"):
        find_data_dir(file, environ={})


def test_the_data_dir_is_found_without_the_secrets(file: Path) -> None:
    assert find_data_dir(file, environ={}) == file.parent / "data"


def test_the_public_names_are_sorted_and_there() -> None:
    names = sluicegate.config.__all__

    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names
    assert all(hasattr(sluicegate.config, name) for name in names)


def test_reading_imports_no_destination(file: Path) -> None:
    program = (
        "import sys, pathlib, sluicegate.config as c;"
        f"c.load(pathlib.Path({str(file)!r}), environ={ENVIRON!r});"
        "print([m for m in sys.modules if m.startswith('sluicegate.destinations.')])"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "['sluicegate.destinations.settings']"


def test_models_are_imported_without_the_readers() -> None:
    program = "import sys, sluicegate.config.model; print({'sluicegate.config.reader', 'tomllib'} & set(sys.modules))"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "set()"


def test_file_may_begin_with_a_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.encode())

    assert list(load(file, environ=ENVIRON).destinations) == ["archive", "crm"]

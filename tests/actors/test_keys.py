from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluicegate.actors.keys import KeyUnsafe, load_key, load_or_create_key
from sluicegate.errors import NotRunning


def test_key_is_made_once_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "actor.key"

    first, second = load_or_create_key(path), load_or_create_key(path)

    assert first == second == load_key(path)
    assert len(first) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_many_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "actor.key"

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(path), range(32)))

    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "actor.key"
    load_or_create_key(path)
    path.chmod(mode)

    with pytest.raises(KeyUnsafe, match="chmod 600"):
        load_key(path)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "actor.key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyUnsafe, match="32 bytes"):
        load_or_create_key(path)


def test_missing_key_means_that_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        load_key(tmp_path / "actor.key")

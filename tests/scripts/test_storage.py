from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.paths import DataDir
from sluicegate.scripts.storage import DirectoryRefused, prepare_directory


def test_folder_that_everybody_shares_is_no_data_directory(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(DirectoryRefused, match="is shared by all users"):
        prepare_directory(DataDir(shared))

    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert list(shared.iterdir()) == []

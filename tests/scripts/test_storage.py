from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.config.model import Config, ConsentConfig, GatewayConfig, SupervisorConfig
from sluicegate.consent.ledger import Ledger
from sluicegate.paths import DataDir
from sluicegate.scripts.storage import DirectoryRefused, prepare_directory, prepare_storage


def test_folder_that_everybody_shares_is_no_data_directory(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(DirectoryRefused, match="is shared by all users"):
        prepare_directory(DataDir(shared))

    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert list(shared.iterdir()) == []


def test_names_of_the_configuration_have_their_room_before_anybody_sends(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    prepare_directory(data_dir)
    consent = ConsentConfig(require_policy="2026-12")
    config = Config(data_dir.root, GatewayConfig(), SupervisorConfig(), {}, consent=consent)

    prepare_storage(config, data_dir)

    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    assert {"marketing", "2026-12"} <= set(ledger.names.known)
    ledger.close()

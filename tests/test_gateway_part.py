from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.errors import SluicegateError
from sluicegate.paths import DataDir
from sluicegate.scripts import gateway_part
from sluicegate.scripts.gateway_part import GatewayPart
from tests.gateway.harness import make_config


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayPart]:
    """A gateway that lets connect and answers nobody; this process stands for it."""
    monkeypatch.setattr(gateway_part, "ASK_S", 0.05)
    config = make_config(tmp_path)
    part = GatewayPart(config, DataDir(config.data_dir))
    part.pidfd = os.pidfd_open(os.getpid())
    yield part
    os.close(part.pidfd)
    part._socket.close()


def test_a_wish_to_stop_ends_the_wait_for_a_gateway_that_hangs(silent: GatewayPart) -> None:
    assert not silent.wait_ready(timeout_s=60, stops=lambda: True)


def test_a_gateway_that_hangs_is_an_error_in_the_end(silent: GatewayPart) -> None:
    with pytest.raises(SluicegateError, match="did not get ready"):
        silent.wait_ready(timeout_s=0.2, stops=lambda: False)

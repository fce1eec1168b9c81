from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.destinations.segment import Segment
from sluicegate.errors import NotReady, Retry
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.doubles.raw_server import RawServer


def test_vendor_behind_a_private_authority_is_trusted_by_the_environment(
    tls_server: RawServer, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    segment = make_destination(Segment, tmp_path, url=f"https://localhost:{tls_server.port}/v1/batch", write_key="k")

    segment.test()
    outcome = segment.deliver(make_batch(["m-1", "m-2"]))
    segment.destroy()

    assert outcome is None


def test_vendor_whose_certificate_nobody_trusts_gets_no_event(tls_server: RawServer, tmp_path: Path) -> None:
    segment = make_destination(Segment, tmp_path, url=f"https://localhost:{tls_server.port}/v1/batch", write_key="k")

    with pytest.raises(NotReady, match="certificate"):
        segment.test()
    with pytest.raises(Retry, match="certificate") as raised:
        segment.deliver(make_batch(["m-1"]))
    segment.destroy()

    assert not raised.value.outcome_unknown

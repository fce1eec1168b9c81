"""Unmodified SDKs that know nothing of us but a host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.line import Fault
from tests.sdk.play import CONSENT, N_EVENTS, SDKS, Outcome, Sdk, Stage

SENT = ["group", "identify", "page", "track"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    one = Stage(tmp_path_factory.mktemp("stage"))
    yield one
    one.close()


def play(stage: Stage, sdk: Sdk, fault: Fault) -> Outcome:
    if sdk.missing is not None:
        pytest.skip(sdk.missing)
    return stage.play(sdk, fault)


each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
each_sdk_that_retries = pytest.mark.parametrize("sdk", [s for s in SDKS if s.retries], ids=lambda sdk: sdk.name)


@each_sdk
def test_all_events_arrive_with_their_consent(stage: Stage, sdk: Sdk) -> None:
    outcome = play(stage, sdk, Fault.NONE)

    assert outcome.types == SENT
    assert outcome.stamps == {CONSENT}
    assert set(outcome.statuses) == {200}


@pytest.mark.parametrize(
    ("package", "path"), [("@segment/analytics-next", "/v1/b"), ("@rudderstack/analytics-js", "/beacon/v1/batch")]
)
def test_browser_sdk_sends_batches_and_beacons(stage: Stage, package: str, path: str) -> None:
    sdk = next(sdk for sdk in SDKS if sdk.package == package)

    if sdk.missing is not None:
        pytest.skip(sdk.missing)
    outcome = stage.play(sdk, Fault.NONE, batched=True)

    assert outcome.types == SENT
    assert outcome.stamps == {CONSENT}
    assert outcome.paths == {path}


@each_sdk_that_retries
@pytest.mark.parametrize("fault", [Fault.STORED_500, Fault.STORED_RESTART], ids=lambda fault: fault.name)
def test_event_that_is_sent_again_is_stored_once(stage: Stage, sdk: Sdk, fault: Fault) -> None:
    outcome = play(stage, sdk, fault)

    assert outcome.types == SENT
    assert outcome.most_sent >= 2


@each_sdk_that_retries
def test_event_that_was_refused_with_429_is_sent_again(stage: Stage, sdk: Sdk) -> None:
    outcome = play(stage, sdk, Fault.REFUSED_429)

    assert outcome.types == SENT
    assert outcome.statuses[0] == 429


@pytest.mark.parametrize("sdk", [sdk for sdk in SDKS if not sdk.retries], ids=lambda sdk: sdk.name)
def test_sdk_that_never_retries_loses_what_is_refused_and_no_more(stage: Stage, sdk: Sdk) -> None:
    outcome = play(stage, sdk, Fault.REFUSED_429)

    assert len(outcome.types) == N_EVENTS - 1
    assert outcome.most_sent == 1

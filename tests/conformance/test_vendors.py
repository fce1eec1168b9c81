from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.__main__ import report
from tests.conformance.runner import ROOT
from tests.conformance.vendors import VENDORS, scores

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="the conformance cases (../shared/conformance) are not here")

LEAST_AGREED = 0.95
"""Of the fields that all oracles have alike, where they keep to the vendor's rules."""


@pytest.mark.parametrize("name", VENDORS)
def test_vendors_receive_what_the_oracles_agree_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(VENDORS[name], tmp_path)

    with capsys.disabled():
        print("", *report(name, found), sep="\n", end="")
    agreed = {suite: score for (suite, oracle), score in found.items() if oracle == "agreed"}
    assert agreed
    assert min(score.share_by_rules for score in agreed.values()) >= LEAST_AGREED


@pytest.mark.parametrize("name", VENDORS)
def test_every_difference_from_an_oracle_has_its_reason(name: str, tmp_path: Path) -> None:
    found = scores(VENDORS[name], tmp_path)

    assert [difference for score in found.values() for difference in score.unexplained] == []


@pytest.mark.parametrize("name", VENDORS)
def test_every_listed_deviation_is_one(name: str, tmp_path: Path) -> None:
    seen = {why for score in scores(VENDORS[name], tmp_path).values() for why in score.explained}

    assert {f"{one.kind}: {one.why}" for one in VENDORS[name].deviations} == seen

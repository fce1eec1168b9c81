from __future__ import annotations

import pytest

from sluicegate.config.model import ConsentConfig, ConsentModel, HonorGpc
from sluicegate.consent.policy import Policies, Policy

OPT_IN, OPT_OUT = ConsentModel.OPT_IN, ConsentModel.OPT_OUT
MAP = {"US": OPT_OUT, "US-CO": OPT_IN, "DE": OPT_IN}


def model(header: str | None = None, *, event_says: object = None, **config: object) -> ConsentModel:
    config = {"jurisdiction_header": "cf-ipcountry", "jurisdictions": MAP, **config}
    return Policies(ConsentConfig(**config)).of(event_says=event_says, header=header).model  # type: ignore[arg-type]


def test_the_default_counts_where_no_header_is_trusted() -> None:
    assert model(jurisdiction_header="", model=OPT_OUT) is OPT_OUT
    assert model("US", jurisdiction_header="", model=OPT_IN) is OPT_IN


@pytest.mark.parametrize(
    ("header", "expected"),
    [("US", OPT_OUT), ("us-ca", OPT_OUT), ("US-CO", OPT_IN), ("DE", OPT_IN), (" US ", OPT_OUT)],
)
def test_a_part_of_a_country_comes_before_the_country(header: str, expected: ConsentModel) -> None:
    assert model(header) is expected


@pytest.mark.parametrize("header", [None, "", "FR", "XX", "T1", "USA", "-", "US\0"])
def test_an_unknown_jurisdiction_is_opt_in_whatever_the_default(header: str | None) -> None:
    assert model(header, model=OPT_OUT) is OPT_IN


def test_a_star_stands_for_all_others_but_not_for_nobody_knows() -> None:
    jurisdictions = {"DE": OPT_IN, "*": OPT_OUT}

    assert model("FR", jurisdictions=jurisdictions) is OPT_OUT
    assert model("", jurisdictions=jurisdictions) is OPT_IN


def test_what_the_event_says_comes_before_the_header() -> None:
    assert model("US", event_says="DE") is OPT_IN
    assert model("DE", event_says="US") is OPT_OUT


@pytest.mark.parametrize("event_says", [None, 1, True, [], {}, "", " "])
def test_what_the_event_says_is_ignored_when_it_is_no_jurisdiction(event_says: object) -> None:
    assert model("US", event_says=event_says) is OPT_OUT


@pytest.mark.parametrize(
    ("choice", "in_opt_in", "in_opt_out"),
    [(HonorGpc.ALWAYS, True, True), (HonorGpc.OPT_OUT, False, True), (HonorGpc.NEVER, False, False)],
)
def test_statement_43_gpc_counts_where_the_policy_honours_it(
    choice: HonorGpc, in_opt_in: bool, in_opt_out: bool
) -> None:
    policies = Policies(ConsentConfig(jurisdiction_header="x", jurisdictions=MAP, honor_gpc=choice))

    assert policies.of(header="DE") == Policy(OPT_IN, in_opt_in)
    assert policies.of(header="US") == Policy(OPT_OUT, in_opt_out)


def test_statement_44_gpc_is_announced_only_where_some_policy_honours_it() -> None:
    assert not Policies(ConsentConfig()).any_honors_gpc
    assert Policies(ConsentConfig(honor_gpc=HonorGpc.ALWAYS)).any_honors_gpc
    assert Policies(ConsentConfig(jurisdiction_header="x", jurisdictions=MAP)).any_honors_gpc
    assert not Policies(
        ConsentConfig(jurisdiction_header="x", jurisdictions=MAP, honor_gpc=HonorGpc.NEVER)
    ).any_honors_gpc

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.config.model import Config, ConsentConfig, ConsentModel, HonorGpc, OnUndecided
from sluicegate.consent.standing import Rules
from sluicegate.errors import Problem

Document = dict[str, Any]
Read = Callable[..., Config]


def test_without_a_table_silence_means_no_and_undecided_events_are_held(read: Read, document: Document) -> None:
    consent = read(document).consent

    assert consent == ConsentConfig()
    assert (consent.model, consent.on_undecided, consent.hold_ttl_s, consent.hold_max) == (
        ConsentModel.OPT_IN,
        OnUndecided.HOLD,
        1_800.0,
        200,
    )


def test_everything_can_be_set(read: Read, document: Document) -> None:
    document["purposes"] = {"ads": "marketing"}
    document["consent"] = {
        "model": "opt-out",
        "jurisdiction_header": "CF-IPCountry",
        "jurisdictions": {"us": "opt-out", "US-CO": "opt-in", "*": "opt-in"},
        "honor_gpc": "always",
        "gpc_purposes": ["ads", "measurement", "marketing"],
        "honor_dnt": True,
        "consent_ttl": "90d",
        "require_policy": "v2",
        "on_undecided": "drop",
        "hold_ttl": "10m",
        "hold_max": 10,
        "hold_total": 1000,
        "history_ttl": "365d",
        "audit_ttl": "30d",
    }

    consent = read(document).consent

    assert consent == ConsentConfig(
        model=ConsentModel.OPT_OUT,
        jurisdiction_header="cf-ipcountry",
        jurisdictions={"US": ConsentModel.OPT_OUT, "US-CO": ConsentModel.OPT_IN, "*": ConsentModel.OPT_IN},
        honor_gpc=HonorGpc.ALWAYS,
        gpc_purposes=("marketing", "measurement"),
        honor_dnt=True,
        ttl_s=90 * 86_400.0,
        require_policy="v2",
        on_undecided=OnUndecided.DROP,
        hold_ttl_s=600.0,
        hold_max=10,
        hold_total=1_000,
        history_ttl_s=365 * 86_400.0,
        audit_ttl_s=30 * 86_400.0,
    )


def test_actors_get_the_same(read: Read, document: Document) -> None:
    document["consent"] = {"jurisdictions": {"US": "opt-out"}, "honor_gpc": "never"}
    config = read(document)

    assert Config.decode(config.encode()).consent == config.consent


def test_consent_without_an_end_never_runs_out(read: Read, document: Document) -> None:
    document["consent"] = {"consent_ttl": 0}

    assert Rules.of(read(document).consent) == Rules()


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("model", "optin", "consent.model"),
        ("model", True, "consent.model"),
        ("honor_gpc", "yes", "consent.honor_gpc"),
        ("honor_dnt", "yes", "consent.honor_dnt"),
        ("on_undecided", "allow", "consent.on_undecided"),
        ("jurisdiction_header", "CF IPCountry", "consent.jurisdiction_header"),
        ("jurisdictions", "US", "consent.jurisdictions"),
        ("jurisdictions", {"California": "opt-out"}, "consent.jurisdictions.California"),
        ("jurisdictions", {"US": "none"}, "consent.jurisdictions.US"),
        ("jurisdictions", {"US": "opt-in", "us": "opt-out"}, "consent.jurisdictions.us"),
        ("gpc_purposes", ["advertising"], "consent.gpc_purposes"),
        ("gpc_purposes", ["necessary"], "consent.gpc_purposes"),
        ("gpc_purposes", [], "consent.gpc_purposes"),
        ("require_policy", "", "consent.require_policy"),
        ("consent_ttl", "-1d", "consent.consent_ttl"),
        ("hold_max", 0, "consent.hold_max"),
        ("hold_ttl", "60d", "consent.hold_ttl"),
        ("holdttl", "1m", "consent.holdttl"),
    ],
)
def test_mistakes_are_named(
    problems_of: Callable[..., dict[str, Problem]], document: Document, name: str, value: object, key: str
) -> None:
    document["consent"] = {name: value}

    assert list(problems_of(document)) == [key]


def test_statement_2_events_that_say_nothing_go_only_where_it_is_said_so(read: Read, document: Document) -> None:
    before = read(document).consent.allow_unasked
    document["compat"] = {"segment_missing_consent": "allow"}
    after = read(document).consent.allow_unasked

    assert (before, after) == (False, True)


@pytest.mark.parametrize("value", [True, "yes", 1, None, []])
def test_any_other_way_to_let_them_go_is_a_mistake(
    problems_of: Callable[..., dict[str, Problem]], document: Document, value: object
) -> None:
    document["compat"] = {"segment_missing_consent": value}

    assert list(problems_of(document)) == ["compat.segment_missing_consent"]

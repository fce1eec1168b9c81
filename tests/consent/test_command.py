from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.paths import DataDir
from sluicegate.scripts.consent import consent

ANNE = ("--user-id", "anne")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sluicegate.toml").write_text(
        """
        [gateway]
        write_keys = { web = "web-write-key" }
        [purposes]
        C0002 = "measurement"
        [consent]
        model = "opt-out"
        """
    )
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    return data_dir


def run(*arguments: str) -> Result:
    return CliRunner().invoke(consent, arguments)


def shown(*arguments: str) -> Any:
    result = run("show", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {purpose: found["state"] for purpose, found in json.loads(result.output)["purposes"].items()}


def test_what_is_set_is_shown_by_purpose(data: DataDir) -> None:
    result = run("set", *ANNE, "--grant", "C0002", "--deny", "marketing")

    assert (result.exit_code, result.output) == (0, "recorded; ledger version 1\n")
    assert shown(*ANNE) == {"marketing": "denied", "measurement": "granted"}


def test_a_withdrawal_holds_until_a_newer_decision(data: DataDir) -> None:
    run("set", *ANNE, "--grant", "marketing")
    withdrawn = run("withdraw", *ANNE, "marketing")
    before = shown(*ANNE)
    older = run("set", *ANNE, "--grant", "marketing", "--at", "2026-01-31T12:00Z")

    unchanged = "nothing changed: it is known, newer is known, or the person is suppressed; ledger version 2\n"
    assert (withdrawn.exit_code, older.output) == (0, unchanged)
    assert before == shown(*ANNE) == {"marketing": "denied"}


def test_everything_but_necessary_is_withdrawn_at_once(data: DataDir) -> None:
    run("withdraw", *ANNE, "--all")

    assert shown(*ANNE) == dict.fromkeys(("experience", "functionality", "marketing", "measurement"), "denied")


def test_consent_to_a_vendor_that_a_destination_needs_is_withdrawn_too(data: DataDir) -> None:
    with Path("sluicegate.toml").open("a") as file:
        file.write('[destinations.ads]\ntype = "null"\nrequires = ["necessary"]\ntcf_vendor_id = 755\n')

    alone = run("withdraw", *ANNE, "tcf:755")
    run("withdraw", "--user-id", "ben", "--all")

    assert (alone.exit_code, shown(*ANNE)) == (0, {"tcf:755": "denied"})
    assert shown("--user-id", "ben")["tcf:755"] == "denied"


def test_history_tells_the_newest_first_and_who(data: DataDir) -> None:
    run("set", *ANNE, "--grant", "marketing", "--at", "2026-01-31T12:00Z")
    run("withdraw", *ANNE, "marketing")

    newest, oldest = json.loads(run("history", *ANNE, "--json").output)

    assert set(newest["said"]["marketing"]) == {"admin"}
    assert oldest["said"] == {"marketing": {"decided": {"granted": True, "at": "2026-01-31T12:00:00.000+00:00"}}}
    assert (newest["evidence"], newest["source"].startswith("cli:")) == ("operator", True)


def test_whoever_has_no_name_on_this_system_has_a_number(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_200_042)

    withdrawn = run("withdraw", *ANNE, "marketing")

    assert withdrawn.exit_code == 0, withdrawn.output
    assert json.loads(run("history", *ANNE, "--json").output)[0]["source"] == "cli:4200042"


def test_tables_are_for_people(data: DataDir) -> None:
    run("set", *ANNE, "--anonymous-id", "phone", "--grant", "marketing")

    assert "granted" in run("show", "--anonymous-id", "phone").output
    assert "operator" in run("history", *ANNE).output
    assert run("show", "--user-id", "ben").output.startswith("nothing is known")
    assert run("history", "--user-id", "ben").output == "nothing was ever told\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("set", "--grant", "marketing"),
        ("set", *ANNE),
        ("set", *ANNE, "--grant", "marketng"),
        ("set", *ANNE, "--deny", "necessary"),
        ("set", *ANNE, "--grant", "marketing", "--at", "soon"),
        ("withdraw", *ANNE),
        ("withdraw", *ANNE, "--all", "marketing"),
    ],
)
def test_wrong_usage_writes_nothing(data: DataDir, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert not data.consent.exists()


def test_a_folder_without_a_ledger_is_said_so(data: DataDir) -> None:
    assert "no consent ledger" in str(run("show", *ANNE).exception)


def test_whatever_a_client_calls_a_purpose_is_shown_as_it_is(data: DataDir) -> None:
    writes = decision({"[/x]": True}, 1_700_000_000_000, received_ms=1_700_000_000_000)
    ledger = Ledger(data.consent, data.consent_key)
    ledger.record([Told(Subject("anne", None), writes, Evidence.API, "web [/b]")], now_ms=1_700_000_000_000)
    ledger.close()

    told = [run("show", *ANNE), run("history", *ANNE)]

    assert [one.exit_code for one in told] == [0, 0], told[0].exception
    assert all("[/x]" in one.output for one in told)

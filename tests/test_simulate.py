from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sluicegate.scripts.admin import main

CONFIG = """
data_dir = "data"
[gateway]
write_keys = { web = "a-write-key" }
[destinations.ga4]
requires = ["measurement"]
measurement_id = "G-1"
api_secret = "very-secret-thing"
[destinations.ga4.map]
skip = ["Noise"]
[destinations.hook]
type = "webhook"
requires = ["necessary"]
url = "https://example.com/x"
secret = "whsec_dG9wc2VjcmV0dmFsdWV0b3BzZWNyZXR2YWx1ZQ=="
headers = { X-Token = "header-secret" }
[destinations.forward]
type = "segment"
requires = ["necessary"]
write_key = "forward-secret"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
"""
SIGNED_UP = {"type": "track", "event": "Signed Up", "userId": "u", "messageId": "m-1"}
EVENTS = [SIGNED_UP, {**SIGNED_UP, "event": "2nd"}, {**SIGNED_UP, "event": "Noise"}, {"type": "alias", "userId": "u"}]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sluicegate.toml"
    path.write_text(CONFIG.replace('"data"', f'"{tmp_path / "data"}"'))
    return path


def run(config: Path, *arguments: str, stdin: str) -> str:
    result = CliRunner().invoke(main, ["simulate", *arguments, "--config", str(config)], input=stdin)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    "stdin",
    [
        "\n".join(map(json.dumps, EVENTS)),
        json.dumps(EVENTS),
        json.dumps({"batch": EVENTS, "writeKey": "k"}, indent=2),
    ],
    ids=["lines", "array", "batch"],
)
def test_simulate_shows_requests_and_what_is_in_none_and_sends_nothing(config: Path, stdin: str) -> None:
    found: dict[str, Any] = json.loads(run(config, "ga4", "--json", stdin=stdin))

    (request,) = found["requests"]
    assert request["url"] == "https://www.google-analytics.com/mp/collect?api_secret=***&measurement_id=G-1"
    assert request["events"] == [0]
    assert request["body"]["events"][0]["name"] == "sign_up"
    assert list(found["rejected"]) == ["1"]
    assert found["skipped"] == {"2": "filtered", "3": "no counterpart at the vendor"}
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize("destination", ["ga4", "hook", "forward", "archive"])
def test_simulate_shows_no_secrets(config: Path, destination: str) -> None:
    text = run(config, destination, stdin=json.dumps(SIGNED_UP))

    assert "secret" not in text.lower().replace("api_secret", "")
    assert "u" in text


def test_simulate_refuses_what_is_no_event(config: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", "ga4", "--config", str(config)], input="nonsense")

    assert result.exit_code == 2
    assert "neither JSON nor JSON Lines" in result.output


def test_destinations_lists_types_with_settings_purposes_and_limits() -> None:
    result = CliRunner().invoke(main, ["destinations", "--json"])

    found = {one["type"]: one for one in json.loads(result.output)}
    assert {"console", "file", "ga4", "null", "segment", "webhook"} <= set(found)
    assert found["ga4"]["requires"] == ["measurement"]
    assert found["ga4"]["limits"] == {"events": 100, "bytes": 450 * 1024, "in_flight": 8, "age_s": 0.0}
    assert found["objectstore"]["limits"]["age_s"] == 30.0
    assert found["ga4"]["settings"][0] == {"key": "api_secret", "type": "secret", "required": True}


def test_one_destination_type_is_shown_in_words() -> None:
    result = CliRunner().invoke(main, ["destinations", "segment"])

    assert result.exit_code == 0
    assert "write_key" in result.output


def test_simulate_shows_the_rows_of_databases(config: Path) -> None:
    pytest.importorskip("psycopg")
    keys = ('type = "postgres"', 'requires = ["necessary"]', 'host = "db.example"', 'dbname = "a"', 'user = "u"')
    config.write_text("\n".join([config.read_text(), "[destinations.db]", *keys]))

    found = json.loads(run(config, "db", "--json", stdin=json.dumps([SIGNED_UP, {**SIGNED_UP, "messageId": "m-2"}])))

    tables = {request["body"]["table"]: request["body"]["rows"] for request in found["requests"]}
    assert [row["id"] for row in tables["signed_up"]] == ["m-1", "m-2"]
    assert [row["id"] for row in tables["tracks"]] == ["m-1", "m-2"]


def test_destinations_say_what_to_install_and_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    listed = CliRunner().invoke(main, ["destinations"]).output
    one = CliRunner().invoke(main, ["destinations", "ga4"]).output

    assert any(line.split() == ["postgres", "-", "-", "postgres"] for line in listed.splitlines())
    assert "pip install 'sluicegate[EXTRA]'" in listed
    assert "https://www.google-analytics.com/mp/collect" in one
    assert tomllib.loads(one[one.index("[destinations.ga4]") :])["destinations"]["ga4"] == {
        "type": "ga4",
        "requires": ["measurement"],
        "api_secret": "${GA4_API_SECRET}",
    }


def test_refused_events_are_shown_as_they_go_redacted_and_not_at_all_elsewhere(config: Path) -> None:
    config.write_text(
        config.read_text() + '[destinations.safe]\ntype = "file"\nrequires = ["measurement"]\n'
        'path = "safe.jsonl"\non_denied = "redact"\n'
    )
    stdin = json.dumps(EVENTS)

    safe = json.loads(run(config, "safe", "--refused", "--json", stdin=stdin))
    archive = json.loads(run(config, "archive", "--refused", "--json", stdin=stdin))

    (request,) = safe["requests"]
    assert [event["event"] for event in request["body"]] == ["Signed Up", "2nd", "Noise"]
    assert not [event for event in request["body"] if "userId" in event or event["messageId"] == "m-1"]
    assert safe["skipped"] == {"3": "consent_denied"}
    assert archive["requests"] == []
    assert set(archive["skipped"].values()) == {"consent_denied"}


def test_missing_extra_shows_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    needs = "Provides-Extra: strange\nRequires-Dist: no-such-package[x]>=2; extra == 'strange'\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-strange\nVersion: 1.0\n{needs}")
    groups = "[sluicegate.destinations]\nstrange = strange:Type\n[sluicegate.settings]\nstrange = strange:Given\n"
    (info / "entry_points.txt").write_text(groups)
    (tmp_path / "strange.py").write_text("from sluicegate.destinations.settings import NullSettings as Given\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "sluicegate.toml"
    path.write_text(
        '[gateway]\nwrite_keys = { web = "a-long-enough-key" }\n'
        '[destinations.odd]\ntype = "strange"\nrequires = ["measurement"]\n'
    )

    listed = CliRunner().invoke(main, ["destinations"]).output
    valid = CliRunner().invoke(main, ["validate", "--config", str(path)])

    assert "strange, not installed" in listed
    assert "destinations.odd needs what is not installed here: pip install 'acme-strange[strange]'" in valid.output
    assert valid.exit_code == 0


def test_secret_that_is_a_number_is_masked_where_an_event_has_the_number(config: Path) -> None:
    config.write_text(config.read_text().replace("header-secret", "1234567890"))
    event = {**SIGNED_UP, "properties": {"phone": 1234567890}}

    told = run(config, "hook", "--json", stdin=json.dumps(event))

    assert "1234567890" not in told
    assert "Signed Up" in json.dumps(json.loads(told)["requests"])


def test_type_that_is_no_text_can_be_refused(config: Path) -> None:
    config.write_text(config.read_text().replace('path = "events', 'on_denied = "redact"\npath = "events'))

    told = run(config, "archive", "--refused", stdin='{"type": ["track"]}')

    assert "event 0 skipped: consent" in told

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from sluicegate.consent.ledger import Ledger
from sluicegate.delivery.store import DestinationStore
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.scripts.admin import main

NULL = 'type = "null"\nrequires = ["necessary"]\n'

WITHOUT = {
    "serve": "its output is the log, which has --log-format json",
    "init": "writes a file for people",
    "demo": "is for watching",
    "top": "is for watching; `status --json` for programs",
}


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, *path, name)


COMMANDS = {" ".join(path): command for path, command in leaves(main)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT.keys()))
def test_command_takes_json(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}

    assert "--json" in options


def test_exceptions_are_commands_without_json() -> None:
    assert WITHOUT.keys() <= COMMANDS.keys()
    for name in WITHOUT:
        assert all("--json" not in parameter.opts for parameter in COMMANDS[name].params)


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("status",), "not_running", 3),
        (("pause", "crm"), "not_running", 3),
        (("dead-letters", "drop", "--all"), "not_running", 3),
        (("load",), "usage", 2),
        (("pause", "crm", "--no-such-option"), "usage", 2),
        (("no-such-command",), "usage", 2),
        (("dead-letters", "no-such-command"), "usage", 2),
        (("consent", "set"), "usage", 2),
        (("stats", "--config", "nowhere.toml"), "usage", 2),
        (("stats", "--config", "broken.toml", "--data-dir", "data"), "not_running", 3),
        (("simulate", "crm", "--config", "broken.toml"), "configuration", 2),
        (("audit", "verify"), "refused", 1),
    ],
)
def test_error_is_one_line_of_json_on_standard_error(
    arguments: tuple[str, ...], code: str, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text('[supervisor]\nidle_ttl = "soon"\n')

    told = run(*arguments, "--json")
    plain = run(*arguments)

    assert (told.exit_code, plain.exit_code) == (exit_code, exit_code), told.output
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    found = json.loads(line)
    assert found["code"] == code
    assert found["error"] in " ".join(plain.stderr.split("\n")) or found["error"] in plain.stderr


def test_mistakes_of_a_configuration_are_listed_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sluicegate.toml").write_text('[supervisor]\nidle_ttl = "soon"\n')

    told = run("simulate", "crm", "--json")

    assert "supervisor.idle_ttl" in [problem["key"] for problem in json.loads(told.stderr)["problems"]]


def test_json_behind_two_dashes_is_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    told = run("status", "--", "--json")

    assert "sluicegate serve" in told.stderr and not told.stderr.startswith("{")


@pytest.mark.parametrize("name", ["init", "init --force"])
def test_init_in_a_folder_that_is_not_there_says_what_to_do(tmp_path: Path, name: str) -> None:
    told = run(*name.split(), str(tmp_path / "no" / "such" / "folder.toml"))

    assert told.exit_code == 1
    assert "mkdir -p" in told.stderr


def test_error_of_the_operating_system_is_its_text_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")

    told = run("init", str(tmp_path / "a-file" / "x.toml"))
    monkeypatch.setattr(Path, "write_text", lambda self, text: (_ for _ in ()).throw(OSError(28, "No space", "x.toml")))
    full = run("init", str(tmp_path / "x.toml"))

    assert told.exit_code == full.exit_code == 1
    assert full.stderr == "x.toml: No space\n"


@pytest.mark.parametrize("name", ["dead-letters list", "regulations", "consent history", "load x --batch-size 1"])
def test_count_that_no_store_can_hold_is_wrong_usage(name: str) -> None:
    option = "--batch-size" if "load" in name else "--limit"

    told = run(*name.split(), option, "99999999999999999999", "--json")

    assert told.exit_code == 2, told.exception
    assert "is not in the range" in json.loads(told.stderr)["error"]


@pytest.mark.parametrize("name", ["validate", "simulate crm"])
def test_number_that_json_does_not_have_is_a_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sluicegate.toml").write_text("data_dir = nan\nlog = [-inf]\n")

    told = run(*name.split(), "--json")

    problems = msgspec.json.decode(told.stdout or told.stderr)["problems"]  # which takes no NaN
    values = {problem["key"]: problem["value"] for problem in problems}
    assert (values["data_dir"], values["log[0]"]) == ("nan", "-inf")


@pytest.mark.parametrize("name", ["explain", "regulations", "dead-letters list --reason"])
def test_argument_that_is_not_utf_8_is_wrong_usage(name: str, tmp_path: Path) -> None:
    where = DataDir(tmp_path / "data")
    where.create()
    for opened in open_data(where):
        opened.close()
    DestinationStore.open(where.store("crm"), start=0).close()
    Ledger(where.consent, where.consent_key).close()
    (tmp_path / "c.toml").write_text('[gateway]\nwrite_keys = { web = "a-write-key" }\n[destinations.crm]\n' + NULL)
    options = ["--config", str(tmp_path / "c.toml"), "--data-dir", str(where.root), "--json"]

    told = run(*name.split(), "caf\udce9", *options)

    assert told.exit_code == 2, told.exception
    assert json.loads(told.stderr)["code"] == "usage"
    assert "'caf\\udce9' is not UTF-8" in json.loads(told.stderr)["error"]


def test_file_name_that_is_not_utf_8_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    told = run("init", "caf\udce9.toml")

    assert told.exit_code == 0, told.exception
    assert "wrote caf\\udce9.toml" in told.stdout


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300"])
@pytest.mark.parametrize("name", ["top --interval", "stop --timeout", "dead-letters replay --timeout"])
def test_time_that_never_ends_is_wrong_usage(name: str, seconds: str) -> None:
    told = run(*name.split(), seconds)

    assert told.exit_code == 2, told.exception
    assert "is not" in told.stderr


@pytest.mark.parametrize("option", ["--data-dir", "--config"])
def test_empty_path_is_not_the_folder_that_one_is_in(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)

    told = run("serve", option, "", "--listen", "no-address")

    assert told.exit_code == 2, told.exception
    assert f"'{option}'" in told.stderr and "it is empty" in told.stderr
    assert (tmp_path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o755, [])


def test_configuration_that_cannot_be_replaced_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.toml"
    path.write_text("mine")
    path.chmod(0o600)

    def fill_the_disk(self: Path, text: str) -> int:
        with self.open("w") as file:
            file.write(text[:100])
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fill_the_disk)
        full = run("init", "--force", str(path))
    kept = path.read_text()
    done = run("init", "--force", str(path))

    assert (full.exit_code, kept) == (1, "mine")
    assert (done.exit_code, path.read_text()[:15], path.stat().st_mode & 0o777) == (0, "# Configuration", 0o600)
    assert list(tmp_path.iterdir()) == [path]

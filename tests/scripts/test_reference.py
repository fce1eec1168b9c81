from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest

from sluicegate.messages.codec import Message
from sluicegate.scripts.reference import commands, field_docs, messages, renewed
from tests.end_to_end.harness import ARCHIVE, CRM, MakeSystem, track
from tests.end_to_end.receiver import Receiver

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS, MESSAGES = DOCS / "commands.md", DOCS / "messages.md"
PAGES = [COMMANDS, MESSAGES]


def blocks(page: Path, kind: str) -> Counter[str]:
    return Counter(re.findall(rf"<!-- {kind}: ([^>]+?) -->", page.read_text()))


def examples() -> dict[str, Any]:
    """The first JSON document below the heading of each command that has one."""
    parts = re.split(r"^### (.+)$", COMMANDS.read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        answer = re.search(r"```json\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
        if answer:
            found[name] = json.loads(answer[1])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_says_what_the_program_says(page: Path) -> None:
    renew = f"renew it: python -m sluicegate.scripts.reference docs/{page.name}"

    assert page.read_text() == renewed(page.read_text()), renew


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        target = page.parent / name if name else page
        assert target.exists(), name
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_page_has_every_command_once() -> None:
    assert blocks(COMMANDS, "command") == Counter(dict.fromkeys(dict(commands()), 1))


def test_page_has_every_message_once() -> None:
    named = [name for names in blocks(MESSAGES, "messages") for name in names.split()]

    assert Counter(named) == Counter(dict.fromkeys(messages(), 1))


@pytest.mark.parametrize("name", dict(commands()))
def test_command_and_its_options_explain_themselves(name: str) -> None:
    command = dict(commands())[name]

    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def test_help_names_the_environment() -> None:
    command = dict(commands())["status"]

    text = command.get_help(click.Context(command))

    assert "SLUICEGATE_CONFIG" in text and "SLUICEGATE_DATA_DIR" in text


ANSWERS = {"Accepted", "Refused", "ConsentRecorded", "Done", "LoadResults", "Statuses", "StatsAnswer", "IsLoadedAnswer"}


@pytest.mark.parametrize(
    "one",
    [one for name, one in messages().items() if "request_id" in one.__annotations__ and name not in ANSWERS],
    ids=lambda one: one.__name__,
)
def test_request_says_what_answers_it(one: type[Message]) -> None:
    answered = re.findall(r"[Aa]nswered by `(\w+)`", one.__doc__ or "")

    assert answered and set(answered) <= ANSWERS


@pytest.mark.parametrize("name", ["DestinationStatus", "Stats"])
def test_every_field_of_a_status_is_explained(name: str) -> None:
    one = messages()[name]

    assert field_docs(one).keys() == one.__annotations__.keys()


def shape(value: Any) -> Any:
    """The names in a document, as deep as they are fixed: of lists their first item, of accounts and the like none."""
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, dict):
        return {
            name: shape(item) if name in ("destinations", "events", "stats") else None for name, item in value.items()
        }
    return None


def test_answers_have_the_shape_that_the_page_shows(system: MakeSystem, receiver: Receiver) -> None:
    running = system(ARCHIVE + CRM.format(url=receiver.url)).start()
    receiver.answer = lambda body: (400, {})
    running.post([track(consent={"measurement": True}, subject="s")])
    running.until("crm", "done with it", lambda s: s.dead == 1)
    (running.folder / "event.json").write_text('{"type": "track", "event": "Hi", "userId": "u1"}')
    whose, shown = ("--user-id", "u1"), examples()
    asked = {
        "stats": (),
        "load": ("archive", "crm"),
        "send": ("Hi", "--message-id", "m1"),
        "explain": ("m1",),
        "destinations": ("file",),
        "simulate": ("crm", "event.json"),
        "dead-letters list": (),
        "dead-letters show": ("crm", "1"),
        "dead-letters replay": ("--timeout", "30"),
        "consent set": (*whose, "--grant", "marketing"),
        "consent show": whose,
        "consent history": whose,
        "consent dry-run": ("--destination", "crm", "--also-requires", "marketing"),
        "erase": whose,
        "audit verify": (),
        "dead-letters drop": ("--all",),
        "validate": (),
        "stop": (),
        "fsck": (),
    }

    for name, arguments in asked.items():
        answer = running.admin(*name.split(), *arguments, "--json")
        assert answer.returncode == 0 or name == "load", answer.stderr
        assert answer.stderr == "", name
        assert shape(json.loads(answer.stdout)) == shape(shown[name]), name

    tried = {*asked, "status", "audit export"}
    assert shown.keys() <= tried
    assert set(shown["status"]["stats"]) == set(shown["stats"])

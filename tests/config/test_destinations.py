from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import Config, DestinationConfig, OnDenied, OnUndecided, Requirement, consent_of
from sluicegate.config.plugins import SETTINGS_GROUP, TYPES_GROUP, Plugins
from sluicegate.config.secret import Secret
from sluicegate.delivery.plugin import required_of
from sluicegate.errors import Problem

Document = dict[str, Any]
Read = Callable[..., Config]
ProblemsOf = Callable[..., dict[str, Problem]]
Acme = Callable[[object], Plugins]


class AcmeSettings(Settings):
    account: int
    label: str = ""
    token: Secret | None = None

    requires: ClassVar[tuple[str, ...]] = ("marketing",)
    limits: ClassVar[Limits] = Limits(max_events=10, max_bytes=2048, in_flight=2)


def with_acme(document: Document, **keys: object) -> Document:
    document["destinations"] = {"acme": {"requires": ["measurement"], "account": 1, **keys}}
    return document


def test_every_key_reaches_its_field(document: Document, read: Read) -> None:
    document["destinations"]["crm"] = {
        "type": "webhook",
        "requires": {"all": ["measurement", "functionality"]},
        "enabled": False,
        "events": ["track", "page"],
        "batch_size": 50,
        "batch_bytes": "100KiB",
        "in_flight": 4,
        "timeout": "5s",
        "test_on_load": True,
        "rate_limit": "600/m",
        "dead_letter_age": "3d",
        "dead_letter_size": "10MiB",
        "url": "https://${HOST}/hook",
        "headers": {"X-A": "b"},
    }

    config = read(document, environ={"HOST": "crm.example"})

    assert config.destinations["crm"] == DestinationConfig(
        id="crm",
        type="webhook",
        requires=Requirement(all=("measurement", "functionality")),
        enabled=False,
        events=("track", "page"),
        batch_size=50,
        batch_bytes=102_400,
        in_flight=4,
        timeout_s=5.0,
        test_on_load=True,
        rate_per_s=10.0,
        dead_letter_age_s=259_200.0,
        dead_letter_bytes=10_485_760,
        settings={"url": "https://crm.example/hook", "headers": {"X-A": "b"}},
    )


def test_the_type_is_the_id_when_left_out(document: Document, read: Read) -> None:
    document["destinations"] = {"console": {"requires": ["necessary"]}}

    assert read(document).destinations["console"].type == "console"


def test_the_code_of_a_type_is_not_imported(document: Document, read: Read, acme: Acme) -> None:
    read(with_acme(document), plugins=acme(AcmeSettings))

    assert "acme_that_must_not_be_imported" not in sys.modules


def test_statement_7_a_destination_without_requires_is_told_what_to_write(
    document: Document, problems_of: ProblemsOf
) -> None:
    del document["destinations"]["archive"]["requires"]

    problem = problems_of(document)["destinations.archive.requires"]

    assert 'requires = ["necessary"]' in problem.suggestion


@pytest.mark.parametrize(
    ("written", "joined"),
    [
        (["measurement"], Requirement(all=("marketing", "measurement"))),
        (["marketing"], Requirement(all=("marketing",))),
        (["necessary"], Requirement(all=("marketing", "necessary"))),
        ({"any": ["measurement", "experience"]}, Requirement(("marketing",), ("measurement", "experience"))),
    ],
)
def test_statement_7_declared_purposes_are_required_in_addition(
    document: Document, read: Read, acme: Acme, written: object, joined: Requirement
) -> None:
    config = read(with_acme(document, requires=written), plugins=acme(AcmeSettings))

    assert config.destinations["acme"].requires == joined


def test_statement_7_what_the_type_requires_is_left_out_only_on_purpose_and_said_so(
    document: Document, read: Read, acme: Acme, caplog: pytest.LogCaptureFixture
) -> None:
    config = read(with_acme(document, override_plugin_consent=True), plugins=acme(AcmeSettings))

    destination = config.destinations["acme"]
    assert destination.requires == required_of(destination, AcmeSettings) == Requirement(("measurement",))
    assert [record.message for record in caplog.records] == [
        "acme: override_plugin_consent leaves out what its type requires: marketing"
    ]


def test_statement_45_a_vendor_of_the_framework_is_one_more_purpose(document: Document, read: Read, acme: Acme) -> None:
    document["destinations"]["ads"] = {"type": "null", "requires": ["marketing"], "tcf_vendor_id": 755}
    document["destinations"]["crm"] = {
        "type": "null",
        "requires": {"any": ["marketing", "experience"]},
        "tcf_vendor_id": 9,
    }

    config = read(document)

    assert config.destinations["ads"].requires == Requirement(("tcf:755", "marketing"))
    assert config.destinations["crm"].requires == Requirement(("tcf:9",), ("marketing", "experience"))
    assert config.purposes.vendors == (9, 755)
    assert config.purposes.stored[-2:] == ("tcf:9", "tcf:755")
    assert "tcf:9" not in config.purposes.known


def test_statement_39_nobody_receives_consent_events_who_did_not_ask(document: Document, read: Read) -> None:
    assert not any(one.receives_consent_events for one in read(document).destinations.values())


def test_a_declared_purpose_that_nobody_defined_is_a_problem(
    document: Document, problems_of: ProblemsOf, acme: Acme
) -> None:
    class Odd(AcmeSettings):
        requires: ClassVar[tuple[str, ...]] = ("newsletter",)

    problems = problems_of(with_acme(document), plugins=acme(Odd))

    assert 'custom = ["newsletter"]' in problems["destinations.acme.requires"].suggestion


@pytest.mark.parametrize(("key", "value"), [("batch_size", 11), ("batch_bytes", 2049), ("in_flight", 3)])
def test_limits_may_only_be_lowered(
    document: Document, problems_of: ProblemsOf, acme: Acme, key: str, value: int
) -> None:
    plugins = acme(AcmeSettings)

    assert list(problems_of(with_acme(document, **{key: value}), plugins=plugins)) == [f"destinations.acme.{key}"]
    assert not problems_of(with_acme(document, **{key: value - 1}), plugins=plugins)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "webhok"),
        ("type", 3),
        ("enabled", "yes"),
        ("events", []),
        ("events", ["trck"]),
        ("events", "track"),
        ("batch_size", 0),
        ("batch_bytes", 10),
        ("in_flight", 1000),
        ("timeout", 0),
        ("timeout", "2m"),
        ("path", 3),
        ("pth", "x"),
        ("requires", "necessary"),
        ("tcf_vendor_id", 0),
        ("tcf_vendor_id", "acme"),
        ("tcf_vendor_id", 65_536),
        ("receives_consent_events", "yes"),
        ("override_plugin_consent", 1),
    ],
)
def test_a_mistake_is_one_problem_at_its_key(
    document: Document, problems_of: ProblemsOf, key: str, value: object
) -> None:
    document["destinations"]["archive"][key] = value

    assert list(problems_of(document)) == [f"destinations.archive.{key}"]


@pytest.mark.parametrize("type_", ["file", "console"])
@pytest.mark.parametrize("path", ["", " "])
def test_a_file_without_a_name_is_a_problem(document: Document, problems_of: ProblemsOf, type_: str, path: str) -> None:
    document["destinations"] = {"archive": {"type": type_, "requires": ["necessary"], "path": path}}

    problem = problems_of(document)["destinations.archive.path"]

    assert "events.jsonl" in problem.suggestion


@pytest.mark.parametrize("name", ["Archive", "-a", "a/b", "..", "a" * 65, "", "ä"])
def test_an_id_that_is_no_safe_name_is_refused(document: Document, problems_of: ProblemsOf, name: str) -> None:
    document["destinations"] = {name: {"type": "null", "requires": ["necessary"]}}

    assert len(problems_of(document)) == 1


def test_mistakes_of_a_type_s_own_settings_are_named_all_at_once(
    document: Document, problems_of: ProblemsOf, acme: Acme
) -> None:
    document["destinations"] = {"acme": {"requires": ["measurement"], "label": 3, "token": "", "acount": 1}}

    problems = problems_of(document, plugins=acme(AcmeSettings))

    assert {key.removeprefix("destinations.acme.") for key in problems} == {"account", "label", "token", "acount"}
    assert problems["destinations.acme.acount"].suggestion == "did you mean account?"


def test_a_misspelt_common_key_gets_a_suggestion(document: Document, problems_of: ProblemsOf) -> None:
    document["destinations"]["archive"]["batchsize"] = 5

    assert problems_of(document)["destinations.archive.batchsize"].suggestion == "did you mean batch_size?"


def test_settings_of_a_type_without_a_settings_class_wait_for_its_start(document: Document, read: Read) -> None:
    plugins = Plugins({"acme": EntryPoint("acme", "nowhere:Acme", TYPES_GROUP)})

    config = read(with_acme(document, anything=[1]), plugins=plugins)

    assert config.destinations["acme"].settings == {"account": 1, "anything": [1]}


@pytest.mark.parametrize("broken", [None, int, "text", type("S", (Settings,), {"requires": "marketing"})])
def test_a_settings_class_that_cannot_be_relied_on_is_a_problem(
    document: Document, problems_of: ProblemsOf, acme: Acme, broken: object
) -> None:
    assert list(problems_of(with_acme(document), plugins=acme(broken))) == ["destinations.acme.type"]


def test_a_settings_module_that_cannot_be_imported_is_a_problem_while_enabled(
    document: Document, problems_of: ProblemsOf
) -> None:
    plugins = Plugins(
        {"acme": EntryPoint("acme", "nowhere:Acme", TYPES_GROUP)},
        {"acme": EntryPoint("acme", "nowhere_at_all:Settings", SETTINGS_GROUP)},
    )

    assert "nowhere_at_all" in problems_of(with_acme(document), plugins=plugins)["destinations.acme.type"].reason
    assert not problems_of(with_acme(document, enabled=False), plugins=plugins)


def test_a_type_that_two_packages_claim_is_refused(document: Document, problems_of: ProblemsOf) -> None:
    plugins = Plugins({"acme": EntryPoint("acme", "a:A", TYPES_GROUP)}, clashes=frozenset({"acme"}))

    assert "several" in problems_of(with_acme(document), plugins=plugins)["destinations.acme.type"].reason


def test_no_problem_shows_a_secret(document: Document, problems_of: ProblemsOf) -> None:
    secret = "hunter2hunter2"
    document["destinations"] |= {
        "a": {"type": "webhook", "requires": ["necessary"], "url": f"ftp://u:{secret}@h", "secret": [secret]},
        "b": {"type": "webhook", "requires": ["necessary"], "url": "${URL}", "headers": {"A": {"x": secret}}},
        "c": {"type": "webhok", "requires": [], "secrt": secret, "apitoken": secret},
        "d": {"type": "webhook", "requires": ["necessary"], "url": "https://h", "headers": secret, "pw": secret},
    }

    problems = problems_of(document, environ={"URL": secret})

    assert len(problems) >= 6
    assert secret not in "".join(map(repr, problems.values()))


def test_a_destination_may_drop_what_others_hold(document: Document, read: Read, problems_of: ProblemsOf) -> None:
    document["destinations"]["crm"] = {"type": "webhook", "requires": ["measurement"], "url": "https://a.example/"}
    inherited = read(document)
    document["destinations"]["crm"]["on_undecided"] = "drop"
    own = read(document)
    document["destinations"]["crm"]["on_undecided"] = "allow"

    effective = [consent_of(one.destinations["crm"], one.consent).on_undecided for one in (inherited, own)]

    assert effective == [OnUndecided.HOLD, OnUndecided.DROP]
    assert "destinations.crm.on_undecided" in problems_of(document)


def test_a_destination_may_get_what_was_refused_without_the_person(
    document: Document, read: Read, problems_of: ProblemsOf
) -> None:
    document["destinations"]["crm"] = {"type": "webhook", "requires": ["measurement"], "url": "https://a.example/"}
    plain = read(document)
    document["destinations"]["crm"]["on_denied"] = "redact"
    redacting = read(document)
    document["destinations"]["crm"]["on_denied"] = "hash"
    mistaken = problems_of(document)
    document["destinations"]["crm"]["on_denied"] = True

    chosen = [one.destinations["crm"].on_denied for one in (plain, redacting)]

    assert chosen == [OnDenied.DROP, OnDenied.REDACT]
    assert "destinations.crm.on_denied" in mistaken
    assert "destinations.crm.on_denied" in problems_of(document)


@pytest.mark.parametrize(("kind", "n_warnings"), [("segment", 1), ("webhook", 0)])
def test_redacting_for_a_vendor_that_needs_ids_is_warned_of(
    document: Document, read: Read, caplog: pytest.LogCaptureFixture, kind: str, n_warnings: int
) -> None:
    own = {"write_key": "k"} if kind == "segment" else {"url": "https://a.example/"}
    document["destinations"]["crm"] = {"type": kind, "requires": ["measurement"], "on_denied": "redact", **own}

    read(document)

    assert caplog.text.count("sends events without ids") == n_warnings

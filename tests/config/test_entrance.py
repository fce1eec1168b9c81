from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.config.entrance import parse_listen
from sluicegate.config.model import Config, GatewayConfig, SupervisorConfig
from sluicegate.config.problems import Wrong
from sluicegate.config.secret import Secret
from sluicegate.errors import Problem

Document = dict[str, Any]
Read = Callable[..., Config]
ProblemsOf = Callable[..., dict[str, Problem]]


def test_what_is_left_out_has_the_model_s_defaults(document: Document, read: Read) -> None:
    config = read(document)

    assert config.gateway == GatewayConfig(write_keys={"web": Secret("web-write-key")})
    assert config.supervisor == SupervisorConfig()
    assert config.actor_port == 0


def test_every_key_reaches_its_field(document: Document, read: Read) -> None:
    document["gateway"] |= {
        "listen": "[::1]:9000",
        "cors_origins": ["https://www.example.com", "http://localhost:3000"],
        "max_event_size": "16KiB",
        "max_batch_size": "1MB",
        "max_batch_events": 10,
        "max_body_size": 2_000_000,
        "max_depth": "12",
    }
    document["supervisor"] = {"idle_ttl": "300ms", "max_loaded": 7, "retry_cap": "1h", "stall_timeout": 90}
    document["actors"] = {"port": 1900}

    config = read(document)

    assert config.gateway == GatewayConfig(
        host="::1",
        port=9000,
        write_keys={"web": Secret("web-write-key")},
        cors_origins=("https://www.example.com", "http://localhost:3000"),
        max_event_bytes=16 * 1024,
        max_batch_bytes=1_000_000,
        max_batch_events=10,
        max_body_bytes=2_000_000,
        max_depth=12,
    )
    assert config.supervisor == SupervisorConfig(idle_ttl_s=0.3, max_loaded=7, retry_cap_s=3600, stall_timeout_s=90)
    assert config.actor_port == 1900


def test_the_command_line_wins_over_the_file(document: Document, read: Read) -> None:
    document["gateway"]["listen"] = "127.0.0.1:1"
    document["actors"] = {"port": 2}

    config = read(document, listen="0.0.0.0:80", actor_port=3)

    assert (config.gateway.host, config.gateway.port, config.actor_port) == ("0.0.0.0", 80, 3)


def test_mistakes_of_the_command_line_name_the_option(document: Document, problems_of: ProblemsOf) -> None:
    assert set(problems_of(document, listen="nowhere", actor_port=70_000)) == {"--listen", "--port"}


@pytest.mark.parametrize("text", ["8080", ":8080", "host:", "host:65536", "a b:1", "[::1]", 8080, None, "http://h:1"])
def test_what_is_not_host_and_port_is_refused(text: object) -> None:
    with pytest.raises(Wrong):
        parse_listen(text)


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("gateway", "max_event_size", "1"),
        ("gateway", "max_event_size", "1GiB"),
        ("gateway", "max_batch_events", 0),
        ("gateway", "max_batch_events", 1.5),
        ("gateway", "max_depth", 100_000),
        ("gateway", "max_depth", True),
        ("gateway", "max_batch_size", "16KiB"),
        ("gateway", "max_body_size", "100KiB"),
        ("gateway", "cors_origins", []),
        ("gateway", "cors_origins", ["www.example.com"]),
        ("gateway", "analytics_js", "analytics\0.js"),
        ("gateway", "cors_origins", "*"),
        ("gateway", "unheard_of", 1),
        ("supervisor", "idle_ttl", 0),
        ("supervisor", "idle_ttl", "soon"),
        ("supervisor", "max_loaded", 0),
        ("supervisor", "max_retries", -1),
        ("supervisor", "retry_cap", "10ms"),
        ("supervisor", "spawn_timeout", float("inf")),
        ("actors", "port", 65_536),
        ("actors", "prot", 1),
    ],
)
def test_a_mistake_is_one_problem_at_its_key(
    document: Document, problems_of: ProblemsOf, table: str, key: str, value: object
) -> None:
    document.setdefault(table, {})[key] = value

    problems = problems_of(document)

    assert list(problems) == [f"{table}.{key}"]
    assert problems[f"{table}.{key}"].reason


@pytest.mark.parametrize("table", ["gateway", "supervisor", "actors", "destinations", "purposes"])
def test_a_table_must_be_a_table(document: Document, problems_of: ProblemsOf, table: str) -> None:
    document[table] = 3

    assert "must be a table" in problems_of(document)[table].reason


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("Web", "long-enough"),
        ("../x", "long-enough"),
        ("a", "short"),
        ("a", ""),
        ("a", 12345678),
        ("a", "with space 1"),
        ("a", "with:colon"),
        ("a", "ümläuts-everywhere"),
        ("other", "web-write-key"),
    ],
)
def test_a_bad_write_key_is_refused_and_not_shown(
    document: Document, problems_of: ProblemsOf, source: str, key: object
) -> None:
    document["gateway"]["write_keys"][source] = key

    problems = problems_of(document)

    assert len(problems) == 1
    assert not key or str(key) not in "".join(map(str, problems.values()))


@pytest.mark.parametrize("keys", [None, {}, [], "web", "web-write-key"])
def test_somebody_must_be_allowed_to_send(document: Document, problems_of: ProblemsOf, keys: object) -> None:
    document["gateway"]["write_keys"] = keys

    assert list(problems_of(document)) == ["gateway.write_keys"]


def test_a_misspelt_key_gets_a_suggestion(document: Document, problems_of: ProblemsOf) -> None:
    document["supervisor"] = {"idle_tll": "5m"}

    assert problems_of(document)["supervisor.idle_tll"].suggestion == "did you mean idle_ttl?"


def test_nobody_may_erase_people_unless_a_key_is_given(document: Document, read: Read) -> None:
    before = read(document).gateway.regulation_keys
    document["gateway"]["regulation_keys"] = {"privacy": "regulation-key"}

    assert (before, read(document).gateway.regulation_keys) == ({}, {"privacy": Secret("regulation-key")})


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("regulation-key", "gateway.regulation_keys"),
        ({"privacy": "short"}, "gateway.regulation_keys.privacy"),
        ({"privacy": "web-write-key"}, "gateway.regulation_keys.privacy"),
    ],
)
def test_a_key_that_erases_must_be_strong_and_no_write_key(
    document: Document, problems_of: ProblemsOf, keys: object, key: str
) -> None:
    document["gateway"]["regulation_keys"] = keys

    (problem,) = problems_of(document)
    assert problem.startswith(key)


@pytest.mark.parametrize(("shed", "keep"), [(75, 75), (60, 75), (80, 90)])
def test_memory_is_to_be_shed_down_to_less_than_where_it_begins(
    document: Document, problems_of: ProblemsOf, shed: int, keep: int
) -> None:
    document["supervisor"] = {"memory_shed_percent": shed, "memory_keep_percent": keep}

    assert set(problems_of(document)) == {"supervisor.memory_keep_percent"}


def test_shedding_of_memory_can_be_turned_off(document: Document, read: Read) -> None:
    document["supervisor"] = {"memory_shed_percent": 0}

    assert read(document).supervisor == SupervisorConfig(memory_shed_percent=0)


@pytest.mark.parametrize("table", ["supervisor", "log", "gateway", "destinations"])
def test_number_that_fits_nowhere_is_one_mistake(document: Document, problems_of: ProblemsOf, table: str) -> None:
    keys = {"supervisor": "idle_ttl", "log": "max_size", "gateway": "max_depth"}
    key = keys.get(table, "archive.rate_limit")
    place = document["destinations"]["archive"] if table == "destinations" else document.setdefault(table, {})
    place[key.rpartition(".")[2]] = 10**400

    problems = problems_of(document)

    assert list(problems) == [f"{table}.{key}"]
    assert "does not fit into 64 bits" in problems[f"{table}.{key}"].reason

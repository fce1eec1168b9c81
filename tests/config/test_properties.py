from __future__ import annotations

from copy import deepcopy
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.config.keys import DESTINATION, TABLES
from sluicegate.config.model import Config
from sluicegate.config.plugins import TYPES_GROUP, Plugins
from sluicegate.config.reader import from_document
from sluicegate.errors import ConfigError

INSTALLED = Plugins.installed()
LATER = EntryPoint("later", "nowhere:Later", TYPES_GROUP)
PLUGINS = Plugins({**INSTALLED.types, "later": LATER}, INSTALLED.settings)
GOOD: dict[str, Any] = {
    "data_dir": "data",
    "gateway": {"write_keys": {"web": "web-write-key"}},
    "supervisor": {},
    "actors": {},
    "purposes": {},
    "destinations": {
        "archive": {"type": "file", "requires": ["necessary"], "path": "events.jsonl"},
        "crm": {"type": "webhook", "requires": {"any": ["marketing"]}, "url": "https://h", "headers": {"A": "b"}},
    },
}
SCALARS = (
    st.text(max_size=12)
    | st.sampled_from(["5m", "1MB", "${A}", "${B}", "$${", "${", "necessary", "marketing", "file", "track", "file:1"])
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones())
)
TABLE_NAMES = ["gateway", "supervisor", "actors", "purposes", "destinations"]
OTHER_NAMES = ["all", "any", "url", "path", "headers", "secret", "analytics"]
KEYS = st.sampled_from([*(name for table in TABLES for name in table.names), *TABLE_NAMES, *OTHER_NAMES]) | st.text(
    max_size=6
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def read(document: dict[str, Any]) -> Config:
    return from_document(
        document, source="test", folder=Path("/srv"), environ={"A": "value-of-a", "B": "\udc80"}, plugins=PLUGINS
    )


def check(document: dict[str, Any]) -> None:
    try:
        config = read(document)
    except ConfigError as error:
        assert error.problems
        assert len(str(error).splitlines()) == len(error.problems)
    else:
        assert Config.decode(config.encode()) == config


@st.composite
def near_misses(draw: st.DrawFn) -> dict[str, Any]:
    """The good document with a few values put in anywhere."""
    document = deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        table: Any = document
        for _ in range(draw(st.integers(0, 3))):
            inner = [item for item in table.values() if isinstance(item, dict)]
            table = draw(st.sampled_from(inner)) if inner else table
        table[draw(KEYS | st.sampled_from([*table, "x"]))] = draw(VALUES)
    return document


@settings(deadline=None)
@given(DOCUMENTS)
def test_any_document_is_a_configuration_or_a_config_error(document: dict[str, Any]) -> None:
    check(document)


@settings(deadline=None, max_examples=300)
@given(near_misses())
def test_any_document_close_to_a_good_one_is_a_configuration_or_a_config_error(document: dict[str, Any]) -> None:
    check(document)


@st.composite
def right_documents(draw: st.DrawFn) -> dict[str, Any]:
    """The good document with right values for keys of every table."""
    document = deepcopy(GOOD)
    document["gateway"] |= draw(
        st.fixed_dictionaries({}, optional={"max_depth": st.integers(4, 256), "max_event_size": st.just("16KiB")})
    )
    numbers = {"idle_ttl": st.floats(0.1, 1000), "max_loaded": st.integers(1, 99), "retry_cap": st.just("1h")}
    document["supervisor"] = draw(st.fixed_dictionaries({}, optional=numbers))
    document["purposes"] = {"custom": ["newsletter"]} | draw(
        st.dictionaries(st.from_regex(r"C[0-9]{4}", fullmatch=True), st.sampled_from(["marketing", "newsletter"]))
    )
    aliases = [name for name in document["purposes"] if name != "custom"]
    names = st.lists(st.sampled_from([*aliases, "experience"]), min_size=1)
    requires = names | st.fixed_dictionaries({"all": names}) | st.fixed_dictionaries({"any": names})
    document["destinations"]["crm"]["requires"] = draw(requires)
    document["destinations"]["crm"]["timeout"] = draw(st.floats(1, 59))
    return document


@settings(deadline=None)
@given(right_documents())
def test_a_configuration_decodes_to_itself(document: dict[str, Any]) -> None:
    config = read(document)

    assert Config.decode(config.encode()) == config
    assert set(config.destinations["crm"].requires.purposes) <= set(config.purposes.known)


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=5))
def test_settings_of_a_type_that_is_checked_later_survive_the_journey(raw: dict[str, Any]) -> None:
    document = deepcopy(GOOD)
    document["destinations"]["later"] = raw | {"type": "later", "requires": ["necessary"]}
    for key in DESTINATION.names[2:]:
        document["destinations"]["later"].pop(key, None)

    check(document)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=20))
def test_no_write_key_is_ever_shown(key: str) -> None:
    document = deepcopy(GOOD)
    document["gateway"]["write_keys"] |= {"a": key, "b": key, "C": key, "d": [key]}

    try:
        read(document)
    except ConfigError as error:
        assert key not in str(error)
        assert key not in repr(error.problems)
    else:
        raise AssertionError("the mistakes were not found")

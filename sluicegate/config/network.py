"""Reading `[network]`, and finding addresses in the settings of destinations that it does not allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sluicegate.config.keys import NETWORK
from sluicegate.config.problems import KeyPath, Problems, Wrong
from sluicegate.config.scalars import read_table, texts
from sluicegate.network import Network, wrong_entry

_SCHEMES = ("http://", "https://")


def read_network(document: Mapping[str, Any], problems: Problems) -> Network:
    """`[network]`."""
    raw = read_table(document, NETWORK.name, problems)
    for name in raw:
        if name not in NETWORK.names:
            problems.add_unknown((NETWORK.name, name), NETWORK.names)
    if "allow" not in raw:
        return Network()
    path = (NETWORK.name, "allow")
    try:
        allow = texts(raw["allow"])
    except Wrong as wrong:
        problems.add(path, wrong.reason, wrong.suggestion or "leave it out to allow public addresses only")
        return Network()
    for entry in allow:
        if (wrong_text := wrong_entry(entry)) is not None:
            problems.add(path, *wrong_text.split(": ", 1))
    return Network(allow)


def check_addresses(settings: Mapping[str, Any], path: KeyPath, network: Network, problems: Problems) -> None:
    """Note every web address in a destination's settings whose host is private, as written, and not allowed.

    Names are left to the connection, which asks DNS every time.
    """
    for place, host in _hosts(settings, path):
        kind = network.refusal_of_host(host)
        if kind is not None:
            allow = ", ".join(f'"{entry}"' for entry in (*network.allow, host))
            problems.add(
                place, f"{host} is {kind}", f"if that is meant, write [network] and below it allow = [{allow}]"
            )


def _hosts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every web address in a value, however deep, by its host."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _hosts(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _hosts(item, (*path, index))
    elif isinstance(value, str) and value.lower().startswith(_SCHEMES):
        try:
            host = urlsplit(value).hostname
        except ValueError:
            return  # its type says what is wrong with it
        if host:
            yield path, host

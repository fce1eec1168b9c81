from __future__ import annotations

from collections.abc import Callable

import pytest

from sluicegate.config.model import Config
from sluicegate.errors import Problem
from sluicegate.network import Network
from tests.config.conftest import Document, Read

Problems = Callable[..., dict[str, Problem]]


def with_url(document: Document, url: str, **top_level: object) -> Document:
    document["destinations"]["crm"] = {"type": "webhook", "requires": ["measurement"], "url": url}
    return {**document, **top_level}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9000", "10.0.0.1", "[::1]:80", "localhost", "169.254.169.254", "127.1", "metadata.google.internal"],
)
def test_private_address_is_reported_with_the_line_to_add(document: Document, problems_of: Problems, host: str) -> None:
    problem = problems_of(with_url(document, f"http://{host}/hook"))["destinations.crm.url"]

    bare = host.strip("[]").removesuffix("]:80").removesuffix(":9000")
    assert problem.suggestion.endswith(f'allow = ["{bare}"]')


def test_line_to_add_keeps_what_is_there(document: Document, problems_of: Problems) -> None:
    found = problems_of(with_url(document, "http://10.0.0.1/", network={"allow": ["10.1.0.0/16"]}))

    assert found["destinations.crm.url"].suggestion.endswith('allow = ["10.1.0.0/16", "10.0.0.1"]')


@pytest.mark.parametrize("url", ["https://crm.example/hook", "http://receiver.internal/", "https://8.8.8.8/"])
def test_public_addresses_and_names_are_taken(document: Document, problems_of: Problems, url: str) -> None:
    assert problems_of(with_url(document, url)) == {}


def test_allowed_addresses_are_taken_and_travel_with_every_destination(document: Document, read: Read) -> None:
    allow = ["127.0.0.1", "receiver.internal"]

    config = Config.decode(read(with_url(document, "http://127.0.0.1/", network={"allow": allow})).encode())

    assert config.destinations["crm"].network == Network(tuple(allow))


def test_addresses_are_found_however_deep_they_stand(document: Document, problems_of: Problems) -> None:
    document["destinations"]["crm"] = {
        "type": "webhook",
        "requires": ["measurement"],
        "url": "https://crm.example/",
        "headers": {"X-Callback": "http://10.0.0.1/"},
    }

    assert "destinations.crm.headers.X-Callback" in problems_of(document)


@pytest.mark.parametrize("allow", [[], "127.0.0.1", ["10.1.2.3/8"], ["*"], [1]])
def test_wrong_lists_are_named(document: Document, problems_of: Problems, allow: object) -> None:
    assert "network.allow" in problems_of({**document, "network": {"allow": allow}})


def test_unknown_key_is_named(document: Document, problems_of: Problems) -> None:
    assert "did you mean allow" in problems_of({**document, "network": {"alow": []}})["network.alow"].suggestion

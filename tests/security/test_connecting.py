from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluicegate.destinations.http import HttpConnection, Origin
from sluicegate.destinations.webhook import Webhook
from sluicegate.errors import NotReady, Retry
from sluicegate.network import AddressRefused, Network
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.doubles.raw_server import OK, RawServer

REQUEST = b"POST / HTTP/1.1\r\nHost: vendor.example\r\nContent-Length: 0\r\n\r\n"
STAND_IN = Network(("127.0.0.2",))
"""127.0.0.2 plays the public address; 127.0.0.1 stays forbidden."""
REAL = socket.getaddrinfo
Addresses = Callable[[], Sequence[str]]


class Dns:
    """A resolver whose answers are scripted; every lookup is counted."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.n_lookups = 0

    def getaddrinfo(self, host: str, port: int, **options: Any) -> list[Any]:
        if host != "vendor.example":
            return list(REAL(host, port, **options))
        self.n_lookups += 1
        return [found for address in self.addresses() for found in REAL(address, port, **options)]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Callable[[Addresses], Dns]:
    def install(addresses: Addresses) -> Dns:
        one = Dns(addresses)
        monkeypatch.setattr(socket, "getaddrinfo", one.getaddrinfo)
        return one

    return install


@pytest.fixture
def server() -> Iterator[RawServer]:
    """Listens on every loopback address, so that only the guard keeps a connection away."""

    def script(connection: socket.socket, number: int) -> None:
        while one.read_request(connection):
            connection.sendall(OK)

    one = RawServer(script, host="0.0.0.0")
    yield one
    one.close()


def connection_to(server: RawServer, *, network: Network = STAND_IN) -> HttpConnection:
    return HttpConnection(Origin("http", "vendor.example", server.port), network=network)


def test_name_that_moves_to_this_machine_is_refused_at_the_next_connection(
    server: RawServer, dns: Callable[[Addresses], Dns]
) -> None:
    answers = iter((["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"]))
    dns(lambda: next(answers))
    connection = connection_to(server)

    assert connection.exchange(REQUEST, timeout_s=5).status == 200
    connection.close()
    with pytest.raises(AddressRefused, match=r"vendor.example is 127.0.0.1, which is loopback"):
        connection.exchange(REQUEST, timeout_s=5)

    assert server.n_connections == 1
    assert connection.exchange(REQUEST, timeout_s=5).status == 200
    connection.close()


def test_forbidden_candidates_are_passed_over(server: RawServer, dns: Callable[[Addresses], Dns]) -> None:
    dns(lambda: ["127.0.0.1", "::1", "127.0.0.2"])

    connection = connection_to(server)

    assert connection.exchange(REQUEST, timeout_s=5).status == 200
    connection.close()
    assert server.n_connections == 1


def test_kept_connection_asks_no_name_and_an_old_one_asks_again(
    server: RawServer, dns: Callable[[Addresses], Dns], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = dns(lambda: ["127.0.0.2"])
    connection = connection_to(server)

    connection.exchange(REQUEST, timeout_s=5)
    connection.exchange(REQUEST, timeout_s=5)
    assert one.n_lookups == 1
    monkeypatch.setattr("sluicegate.destinations.http.MAX_AGE_S", 0.0)
    connection.close()
    connection.exchange(REQUEST, timeout_s=5)
    connection.exchange(REQUEST, timeout_s=5)

    assert one.n_lookups == 3
    connection.close()


def test_address_that_the_connection_ended_at_is_checked(
    server: RawServer, dns: Callable[[Addresses], Dns], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverted(socket.socket):
        def getpeername(self) -> Any:
            return ("10.0.0.7", 80)

    dns(lambda: ["127.0.0.2"])
    monkeypatch.setattr("sluicegate.destinations.http.socket.socket", Diverted)

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.7"):
        connection_to(server).exchange(REQUEST, timeout_s=5)
    assert server.requests == []


def test_slow_resolver_holds_no_call_beyond_its_time_and_is_asked_once(
    server: RawServer, dns: Callable[[Addresses], Dns]
) -> None:
    answers = threading.Event()
    one = dns(lambda: ["127.0.0.2"] if answers.wait(60) else [])
    connection = connection_to(server)

    for _ in range(5):
        with pytest.raises(TimeoutError, match="not resolved in time"):
            connection.exchange(REQUEST, timeout_s=0.05)

    assert one.n_lookups == 1
    answers.set()
    assert connection.exchange(REQUEST, timeout_s=5).status == 200
    connection.close()


def test_answer_of_a_resolver_is_not_kept_when_it_failed(server: RawServer, dns: Callable[[Addresses], Dns]) -> None:
    def fail_once() -> Sequence[str]:
        if one.n_lookups == 1:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ["127.0.0.2"]

    one = dns(fail_once)
    connection = connection_to(server)

    with pytest.raises(OSError, match="Name or service not known"):
        connection.exchange(REQUEST, timeout_s=5)

    assert connection.exchange(REQUEST, timeout_s=5).status == 200
    connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "0.0.0.0"])
def test_no_spelling_of_this_machine_is_connected_to(server: RawServer, host: str) -> None:
    connection = HttpConnection(Origin("http", host, server.port))

    with pytest.raises(AddressRefused):
        connection.exchange(REQUEST, timeout_s=5)
    assert server.n_connections == 0


def test_webhook_waits_for_a_name_that_points_inside(
    tmp_path: Path, server: RawServer, dns: Callable[[Addresses], Dns]
) -> None:
    dns(lambda: ["127.0.0.1"])
    url = f"http://vendor.example:{server.port}/hook"
    webhook = make_destination(Webhook, tmp_path, network=STAND_IN, url=url)

    with pytest.raises(Retry, match=r"which is loopback: .* \[network\] allow"):
        webhook.deliver(make_batch("1"))
    with pytest.raises(NotReady, match="which is loopback"):
        webhook.test()

    assert server.n_connections == 0

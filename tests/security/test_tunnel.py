"""A library that opens its own sockets connects to checked addresses only, and its TLS stays its own."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sluicegate.destinations.tunnel import Tunnel
from sluicegate.errors import CredentialsRefused, Retry
from sluicegate.network import Network
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.destinations.conftest import certificate, tls_server
from tests.doubles.raw_server import OK, RawServer
from tests.end_to_end.harness import poll
from tests.security.test_connecting import STAND_IN, Dns, dns, server

__all__ = ["certificate", "dns", "server", "tls_server"]

LOGIN: dict[str, Any] = {"access_key_id": "key", "secret_access_key": "secret-word", "region": "eu-central-1"}


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    one = Tunnel(STAND_IN, connect_timeout_s=5)
    yield one
    one.close()


def lake(tmp_path: Path, endpoint: str, network: Network = STAND_IN) -> Any:
    pytest.importorskip("obstore", reason="obstore is not installed; pip install sluicegate[peers]")
    from sluicegate.destinations.objectstore import ObjectStore

    return make_destination(ObjectStore, tmp_path, network=network, url="s3://events", endpoint=endpoint, **LOGIN)


def answers_once(connection: socket.socket, number: int) -> None:
    """A store that closes after each answer, so that the next call connects anew."""
    read_all(connection)
    connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nETag: x\r\nConnection: close\r\n\r\n"))


def read_all(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))


def ask(tunnel: Tunnel, request: bytes, *, login: str | None = None) -> bytes:
    """What the tunnel answers to these bytes, until it closes."""
    url = urlsplit(tunnel.url)
    token = b64encode((login or f"{url.username}:{url.password}").encode()).decode()
    with socket.create_connection(("127.0.0.1", url.port or 0), timeout=10) as connection:
        connection.sendall(request.replace(b"LOGIN", f"Proxy-Authorization: Basic {token}".encode()))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                answer += data
        return answer


def test_store_whose_name_moves_to_this_machine_gets_nothing_more(tmp_path: Path, dns: Callable[..., Dns]) -> None:
    store = RawServer(answers_once, host="0.0.0.0")
    answers = iter([["127.0.0.2"], ["127.0.0.2"]])
    dns(lambda: next(answers, ["127.0.0.1"]))
    destination = lake(tmp_path, f"http://vendor.example:{store.port}")

    destination.deliver(make_batch(["m-1"]))
    with pytest.raises(CredentialsRefused, match=r"vendor\.example is 127\.0\.0\.1, which is loopback"):
        destination.deliver(make_batch(["m-2"], first_offset=2))
    store.close()

    assert store.n_connections == 1


def test_store_that_moves_behind_tls_gets_nothing_more(
    tls_server: RawServer, tmp_path: Path, dns: Callable[..., Dns]
) -> None:
    answers = iter([["127.0.0.2"]])
    dns(lambda: next(answers, ["127.0.0.1"]))
    destination = lake(tmp_path, f"https://vendor.example:{tls_server.port}")

    with pytest.raises(CredentialsRefused, match=r"vendor\.example is 127\.0\.0\.1, which is loopback"):
        destination.deliver(make_batch(["m-1"]))

    assert tls_server.n_connections == 0


def test_library_verifies_the_name_of_the_store_behind_the_tunnel(
    tls_server: RawServer, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    here = Network(("127.0.0.1", "localhost"))

    with pytest.raises(Retry, match="ETag Header missing"):  # the answer came through, and is no store's
        lake(tmp_path, f"https://localhost:{tls_server.port}", here).deliver(make_batch(["m-1"]))
    with pytest.raises(Retry, match="error sending request"):
        lake(tmp_path, f"https://127.0.0.1:{tls_server.port}", here).deliver(make_batch(["m-1"]))

    assert len(tls_server.requests) == 1


@pytest.mark.parametrize(
    "request_line", ["CONNECT 127.0.0.2:{port}", "PUT http://127.0.0.2:{port}/x"], ids=["connect", "plain"]
)
def test_who_does_not_know_the_secret_is_connected_to_nothing(
    tunnel: Tunnel, server: RawServer, request_line: str
) -> None:
    line = request_line.format(port=server.port)

    answers = [
        ask(tunnel, f"{line} HTTP/1.1\r\nContent-Length: 0\r\nLOGIN\r\n\r\n".encode(), login="sluicegate:guess"),
        ask(tunnel, f"{line} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode()),
    ]

    assert all(answer.startswith(b"HTTP/1.1 407 ") for answer in answers)
    assert server.n_connections == 0


@pytest.mark.parametrize(
    "target", ["127.0.0.1:{port}", "localhost:{port}", "[::ffff:127.0.0.1]:{port}", "127.1:{port}"]
)
def test_forbidden_address_is_not_connected_to_and_told(tunnel: Tunnel, server: RawServer, target: str) -> None:
    place = target.format(port=server.port)

    answer = ask(tunnel, f"CONNECT {place} HTTP/1.1\r\nLOGIN\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 502 ")
    assert "[network] allow" in str(tunnel.take_failure())
    assert tunnel.take_failure() is None
    assert server.n_connections == 0


def test_secret_does_not_go_on_and_requests_for_another_host_end_the_connection(
    tunnel: Tunnel, server: RawServer
) -> None:
    here = f"PUT http://127.0.0.2:{server.port}/a?b=c HTTP/1.1\r\nContent-Length: 3\r\nLOGIN\r\n\r\nabc"
    there = "PUT http://127.0.0.1:1/a HTTP/1.1\r\nContent-Length: 0\r\nLOGIN\r\n\r\n"

    answer = ask(tunnel, f"{here}{here}{there}".encode())

    wanted = b"PUT /a?b=c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" * 2
    poll("both requests", lambda: b"".join(server.requests) == wanted)
    assert answer in (b"", OK, OK + OK)
    assert server.n_connections == 1


def good(server: RawServer) -> bytes:
    """A request that the tunnel is to pass on, but for the secret."""
    return (
        f"PUT http://127.0.0.2:{server.port}/ HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\nLOGIN\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"CONNECT\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nLOGIN\r\n\r\n",
        b"PUT http://127.0.0.2/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nLOGIN\r\n\r\n",
        b"PUT http://127.0.0.2/ HTTP/1.1\r\nContent-Length: x\r\nLOGIN\r\n\r\n",
        b"CONNECT 127.0.0.2:99999999 HTTP/1.1\r\nLOGIN\r\n\r\n",
        b"A" * 100_000,
    ],
)
def test_nonsense_ends_its_own_connection_only(tunnel: Tunnel, server: RawServer, sent: bytes) -> None:
    assert not ask(tunnel, sent).startswith(b"HTTP/1.1 200 ")

    ask(tunnel, good(server))

    poll("the good request", lambda: len(server.requests) == 1)


def test_who_keeps_silent_does_not_keep_the_library_out(tunnel: Tunnel, server: RawServer) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(300):
            address = "127.0.0.1", urlsplit(tunnel.url).port or 0
            silent.enter_context(socket.create_connection(address, timeout=10))

        ask(tunnel, good(server))

        poll("the good request", lambda: len(server.requests) == 1)


@pytest.mark.parametrize("fails", ["accept", "thread"])
def test_it_goes_on_when_a_connection_cannot_be_taken(
    monkeypatch: pytest.MonkeyPatch, tunnel: Tunnel, server: RawServer, fails: str
) -> None:
    failed = threading.Event()

    def fail(*args: object) -> None:
        failed.set()
        raise OSError(errno.EMFILE, "Too many open files") if fails == "accept" else RuntimeError("no more threads")

    with monkeypatch.context() as patch:
        if fails == "accept":
            patch.setattr(socket.socket, "accept", fail)
        else:
            patch.setattr(threading.Thread, "start", fail)
        for _ in range(2):  # an accept that waits already does not fail
            with socket.create_connection(("127.0.0.1", urlsplit(tunnel.url).port or 0), timeout=10) as connection:
                connection.sendall(b"\r\n\r\n")
        assert failed.wait(10)

    ask(tunnel, good(server))

    poll("the good request", lambda: len(server.requests) == 1)

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sluicegate.destinations.connecting import connect
from sluicegate.destinations.http import HttpConnection, Origin
from sluicegate.destinations.resolving import resolve
from sluicegate.testing.destination_contract import LOOPBACK
from tests.doubles.raw_server import OK, RawServer, Script

REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
LARGE_REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 8_000_000


def test_exchanges_over_tls_share_a_connection(tls_server: RawServer, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    connection = HttpConnection(Origin("https", "localhost", tls_server.port), network=LOOPBACK, tls=trusting)

    answers = [connection.exchange(REQUEST, timeout_s=10).status for _ in range(3)]
    connection.close()

    assert answers == [200, 200, 200]
    assert tls_server.n_connections == 1


def test_untrusted_certificate_is_refused(tls_server: RawServer) -> None:
    connection = HttpConnection(Origin("https", "localhost", tls_server.port), network=LOOPBACK)

    with pytest.raises(OSError, match="certificate"):
        connection.exchange(REQUEST, timeout_s=10)

    assert tls_server.requests == []


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://host/", "host"),
        ("https://host:443/", "host"),
        ("https://host:8443/", "host:8443"),
        ("http://host:443/", "host:443"),
        ("http://[::1]:80/", "[::1]"),
    ],
)
def test_host_header_leaves_the_default_port_out(url: str, header: str) -> None:
    assert Origin.of(urlsplit(url)).header == header


def test_connection_that_takes_no_more_is_bounded_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = HttpConnection(Origin("http", "127.0.0.1", server.getsockname()[1]), network=LOOPBACK)

        with pytest.raises(TimeoutError):
            connection.exchange(b"x" * 50_000_000, timeout_s=0.2)


def test_name_that_does_not_resolve_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(OSError, match="Name or service not known"):
        HttpConnection(Origin("http", "nowhere.invalid", 80), network=LOOPBACK).exchange(REQUEST, timeout_s=1)


def test_second_address_is_tried_when_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(OK)

    server = RawServer(script)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead_port = closed.getsockname()[1]
    both = [
        *socket.getaddrinfo("127.0.0.1", dead_port, type=socket.SOCK_STREAM),
        *socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)

    answer = HttpConnection(Origin("http", "two.example", 80), network=LOOPBACK).exchange(REQUEST, timeout_s=10)

    assert answer.status == 200
    server.close()


def test_name_is_looked_up_again_after_no_thread_could_be_started_for_it() -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as trouble, pytest.raises(OSError, match="can't start new thread"):
        trouble.setattr(threading.Thread, "start", fail)
        resolve("localhost", 80, network=LOOPBACK, timeout_s=5)

    assert resolve("localhost", 80, network=LOOPBACK, timeout_s=5)


def test_second_address_is_tried_when_the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, silent_port() as port:
        both = [
            *socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM),
            *socket.getaddrinfo("127.0.0.1", server.getsockname()[1], type=socket.SOCK_STREAM),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)

        connected = connect("two.example", 80, network=LOOPBACK, deadline=time.monotonic() + 0.5)

        assert connected.getpeername() == server.getsockname()
        connected.close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where nobody answers: its queue of connections is full, and the kernel drops what comes."""
    with ExitStack() as sockets:
        silent = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        yield silent.getsockname()[1]


def test_what_a_server_says_over_tls_while_nobody_asks_is_no_answer(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    said = threading.Event()

    def script(plain: socket.socket, number: int) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            server.read_request(connection)
            connection.sendall(OK)
            if number == 0:
                connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                said.set()
            server.read_request(connection)

    server = RawServer(script)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    connection = HttpConnection(Origin("https", "localhost", server.port), network=LOOPBACK, tls=trusting)

    first = connection.exchange(REQUEST, timeout_s=10)
    assert said.wait(10)
    second = connection.exchange(REQUEST, timeout_s=10)

    assert [first.status, second.status] == [200, 200]
    connection.close()
    server.close()


def test_first_of_two_answers_that_come_at_once_is_the_one(raw_server: Callable[[Script], RawServer]) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")
        server.read_request(connection)

    server = raw_server(script)
    connection = HttpConnection(Origin("http", "127.0.0.1", server.port), network=LOOPBACK)

    answers = [connection.exchange(REQUEST, timeout_s=10) for _ in range(2)]
    connection.close()

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok")] * 2
    assert server.n_connections == 2


def test_answer_that_changes_the_protocol_is_an_os_error(raw_server: Callable[[Script], RawServer]) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI")

    server = raw_server(script)
    connection = HttpConnection(Origin("http", "127.0.0.1", server.port), network=LOOPBACK)

    with pytest.raises(OSError, match="not HTTP"):
        connection.exchange(REQUEST, timeout_s=10)


def test_early_refusal_over_tls_is_read_although_the_body_was_not(certificate: tuple[Path, Path]) -> None:
    def script(plain: socket.socket, number: int) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the answer is dropped as this closes
        with tls_of(certificate).wrap_socket(plain, server_side=True) as connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    server = RawServer(script)

    answer = trusting(certificate, server).exchange(LARGE_REQUEST, timeout_s=10)

    assert answer.status == 413
    server.close()


def test_kept_connection_over_tls_that_ends_while_the_next_request_goes_out_is_replaced(
    certificate: tuple[Path, Path],
) -> None:
    def script(plain: socket.socket, number: int) -> None:
        with tls_of(certificate).wrap_socket(plain, server_side=True) as connection:
            server.read_request(connection)
            connection.sendall(OK)
            if number == 0:
                connection.recv(100)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            server.read_request(connection)
            connection.sendall(OK)

    server = RawServer(script)
    connection = trusting(certificate, server)

    statuses = [connection.exchange(request, timeout_s=10).status for request in (REQUEST, LARGE_REQUEST)]

    assert statuses == [200, 200]
    assert server.n_connections == 2
    connection.close()
    server.close()


def tls_of(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def trusting(certificate: tuple[Path, Path], server: RawServer) -> HttpConnection:
    tls = ssl.create_default_context(cafile=str(certificate[0]))
    return HttpConnection(Origin("https", "localhost", server.port), network=LOOPBACK, tls=tls)

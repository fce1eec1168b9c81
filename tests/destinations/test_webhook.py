from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.config.secret import Secret
from sluicegate.destinations.answers import outcome_of, retry_after_s
from sluicegate.destinations.base import Destination
from sluicegate.destinations.http import Answer
from sluicegate.destinations.settings import signing_key
from sluicegate.destinations.webhook import Webhook, signature
from sluicegate.errors import ConfigError, CredentialsRefused, NotReady, Rejected, Retry
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import HttpReceiver, Reply
from tests.doubles.raw_server import OK, RawServer, Script

NOW = 1_700_000_000.0


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver()
    yield made
    made.close()


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[Callable[..., Destination]]:
    made = []

    def make(url: str, *, timeout_s: float = 10.0, **settings: Any) -> Destination:
        made.append(make_destination(Webhook, tmp_path, id="hook", timeout_s=timeout_s, url=url, **settings))
        made[-1].initialize()
        return made[-1]

    yield make
    for destination in made:
        destination.destroy()


Make = Callable[..., Destination]
Serve = Callable[[Script], RawServer]


def test_body_is_a_segment_batch_of_the_events_as_received(receiver: HttpReceiver, webhook: Make) -> None:
    raws = [b'{"messageId":"a", "n":1.0}', b'{"messageId":"b"}']

    webhook(receiver.url + "?key=1").deliver(make_batch(["a", "b"], raws=raws))

    (request,) = receiver.requests
    assert request.path == "/hook?key=1"
    assert request.body.startswith(b'{"batch":[' + b",".join(raws) + b'],"sentAt":"')
    assert set(msgspec.json.decode(request.body)) == {"batch", "sentAt"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("sluicegate/")


def test_own_headers_are_sent(receiver: HttpReceiver, webhook: Make) -> None:
    webhook(receiver.url, headers={"Authorization": "Bearer abc", "X-Team": "shop"}).deliver(make_batch(["a"]))

    headers = receiver.requests[0].headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer abc", "shop")


def test_signature_is_that_of_standard_webhooks(receiver: HttpReceiver, webhook: Make) -> None:
    key = b"0123456789abcdef01234567"
    webhook(receiver.url, secret="whsec_" + base64.b64encode(key).decode()).deliver(make_batch(["a"]))

    (request,) = receiver.requests
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_signature_matches_the_published_example() -> None:
    # the example of the Standard Webhooks reference libraries
    key = signing_key(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))

    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret",
    ["abc", "whsec_", "whsec_not base64!", "whsec_" + "A" * 28, "whsec_" + "A" * 88, "A" * 32, "xwhsec_" + "A" * 32],
)
def test_secret_that_no_receiver_can_use_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        signing_key(Secret(secret))


@pytest.mark.parametrize("n_bytes", [24, 64])
def test_secret_of_24_to_64_bytes_is_the_key(n_bytes: int) -> None:
    assert signing_key(Secret("whsec_" + base64.b64encode(b"k" * n_bytes).decode())) == b"k" * n_bytes


def test_nothing_is_signed_without_a_secret(receiver: HttpReceiver, webhook: Make) -> None:
    webhook(receiver.url).deliver(make_batch(["a"]))

    assert "webhook-signature" not in receiver.requests[0].headers
    assert "webhook-id" in receiver.requests[0].headers


def test_idempotency_key_is_stable_over_retries_and_differs_between_batches(
    receiver: HttpReceiver, webhook: Make
) -> None:
    hook = webhook(receiver.url)
    for ids in (["a", "b"], ["a", "b"], ["a"], ["b"]):
        hook.deliver(make_batch(ids))

    keys = [request.headers["idempotency-key"] for request in receiver.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys == [request.headers["webhook-id"] for request in receiver.requests]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_delivered(status: int) -> None:
    assert outcome_of(Answer(status, {}, b""), "x") is None


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (Retry, [408, 425, 429, 500, 502, 503, 504, 599]),
        (Rejected, [400, 402, 405, 409, 413, 415, 422, 451]),
        (CredentialsRefused, [301, 302, 307, 308, 401, 403, 404, 410]),
    ],
)
def test_statuses_mean_what_the_documentation_says(kind: type[Exception], statuses: list[int]) -> None:
    for status in statuses:
        error = outcome_of(Answer(status, {}, b"because"), "host:1")
        assert isinstance(error, kind)
        assert str(status) in str(error)


def test_rejection_is_of_the_whole_batch_and_has_an_excerpt() -> None:
    error = outcome_of(Answer(422, {}, b"no\x1b[31m such\nuser" + b"x" * 9_999), "host:1")

    assert isinstance(error, Rejected)
    assert isinstance(error.reasons, str)
    assert error.reasons.startswith("host:1 answered 422: no [31m such user")
    assert len(error.reasons) < 250


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1000000000", 3600.0),
        ("9" * 5_000, 3600.0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("²", None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        (formatdate(NOW + 9e6, usegmt=True), 3600.0),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_capped(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, now=NOW) == expected


def test_retry_after_reaches_the_engine(receiver: HttpReceiver, webhook: Make) -> None:
    receiver.answer = lambda request: Reply(429, {"Retry-After": "17"})

    with pytest.raises(Retry) as raised:
        webhook(receiver.url).deliver(make_batch(["a"]))

    assert raised.value.after_s == 17.0


def test_redirect_is_not_followed(receiver: HttpReceiver, webhook: Make) -> None:
    receiver.answer = lambda request: Reply(307, {"Location": receiver.url})

    with pytest.raises(CredentialsRefused):
        webhook(receiver.url).deliver(make_batch(["a"]))

    assert len(receiver.requests) == 1


def test_connection_is_kept_alive(raw_server: Serve, webhook: Make) -> None:
    def script(connection: socket.socket, number: int) -> None:
        while server.read_request(connection):
            connection.sendall(OK)

    server = raw_server(script)
    hook = webhook(server.url)

    for _ in range(3):
        hook.deliver(make_batch(["a"]))

    assert (server.n_connections, len(server.requests)) == (1, 3)


def test_kept_connection_that_breaks_unanswered_is_replaced_once(raw_server: Serve, webhook: Make) -> None:
    def script(connection: socket.socket, number: int) -> None:
        if server.read_request(connection):
            connection.sendall(OK)
        if number == 0:
            server.read_request(connection)  # and closes without an answer

    server = raw_server(script)
    hook = webhook(server.url)
    hook.deliver(make_batch(["a"]))

    hook.deliver(make_batch(["b"]))

    assert server.n_connections == 2
    assert server.requests[1].split(b"Idempotency")[1][:40] == server.requests[2].split(b"Idempotency")[1][:40]


def test_fresh_connection_that_breaks_is_left_to_the_retry(raw_server: Serve, webhook: Make) -> None:
    server = raw_server(lambda connection, number: None)

    with pytest.raises(Retry):
        webhook(server.url).deliver(make_batch(["a"]))

    assert server.n_connections == 1


def test_answer_that_breaks_off_is_never_sent_again_at_once(raw_server: Serve, webhook: Make) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(OK)
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")

    server = raw_server(script)
    hook = webhook(server.url)
    hook.deliver(make_batch(["a"]))

    with pytest.raises(Retry, match="before the answer was complete"):
        hook.deliver(make_batch(["b"]))

    assert server.n_connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000,
    ],
)
def test_answers_in_every_framing_are_read(raw_server: Serve, webhook: Make, answer: bytes) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(answer)

    server = raw_server(script)

    webhook(server.url).deliver(make_batch(["a"]))


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000]
)
def test_answers_that_are_not_http_are_retried(raw_server: Serve, webhook: Make, answer: bytes) -> None:
    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(answer)

    server = raw_server(script)

    with pytest.raises(Retry):
        webhook(server.url).deliver(make_batch(["a"]))


def test_early_refusal_is_read_although_the_body_was_not(raw_server: Serve, webhook: Make) -> None:
    def script(connection: socket.socket, number: int) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    server = raw_server(script)

    with pytest.raises(Rejected, match="413"):
        webhook(server.url).deliver(make_batch(["a"], raws=[b'{"x":"%s"}' % (b"x" * 400_000)]))


def test_time_limit_holds_for_the_whole_answer(raw_server: Serve, webhook: Make) -> None:
    ended = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            connection.sendall(bytes([byte]))
            if ended.wait(0.02):
                return

    server = raw_server(script)

    with pytest.raises(Retry, match=r"in time|timed out"):
        webhook(server.url, timeout_s=0.3).deliver(make_batch(["a"]))
    ended.set()


def test_closed_port_is_retried_and_named(webhook: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(Retry, match=rf"{port}: Connection refused"):
        webhook(f"http://127.0.0.1:{port}/secret-path").deliver(make_batch(["a"]))


def test_test_connects_and_sends_nothing(raw_server: Serve, webhook: Make) -> None:
    got = threading.Event()
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        seen.append(connection.recv(100))
        got.set()

    hook = webhook(raw_server(script).url)

    hook.test()

    assert got.wait(10)
    assert seen == [b""]


def test_test_says_when_nobody_listens(webhook: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(NotReady, match="cannot be reached"):
        webhook(f"http://127.0.0.1:{port}/").test()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"url": "ftp://host/"}, "not a web address"),
        ({"url": "host/path"}, "not a web address"),
        ({"url": "http://[::1"}, "not a web address"),
        ({"url": "http://host..example/"}, "not a web address"),
        ({"url": f"http://{'x' * 64}.example/"}, "not a web address"),
        ({"url": "http://host:99999/"}, "not a web address"),
        ({"url": "https://user:pass@host/"}, "user name or password"),
        ({"url": "https://host/a b"}, "percent-encoded"),
        ({"url": "https://host/\r\nX: y"}, "url"),
        ({"url": "https://host/", "headers": {"Bad Name": "x"}}, "not a header name"),
        ({"url": "https://host/", "headers": {"X-A": "a\r\nX-B: b"}}, "characters that a header cannot have"),
        ({"url": "https://host/", "headers": {"Content-Length": "1"}}, "set by Sluicegate"),
        ({"url": "https://host/", "headers": {"Webhook-Id": "1"}}, "set by Sluicegate"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make_destination(Webhook, tmp_path, **settings)  # type: ignore[arg-type]

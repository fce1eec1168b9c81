"""Receivers that are away, slow, overloaded, refusing or lying: F25 to F28 and F30 to F34."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import DEFAULT_TIMEOUT_S
from sluicegate.delivery.budget import CAPACITY, TRANSIENT_COST
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.report import ReportKind
from sluicegate.delivery.settlement import Stage
from sluicegate.destinations import http
from sluicegate.destinations.webhook import Webhook
from sluicegate.errors import Retry
from sluicegate.eventlog.runs import Events
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import HttpReceiver, Reply, Request
from tests.doubles.raw_server import OK, RawServer, Script
from tests.faults.conftest import Tally
from tests.faults.delivering import Delivering, scale_waits

SECRET = "canary-4b1d-secret"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Delivering]:
    world = Delivering(tmp_path)
    yield world
    world.close()


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()
    yield receiver
    receiver.close()


def events(n: int) -> list[tuple[str, str]]:
    return [(f"m{number}", f"s{number}") for number in range(n)]


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_f25_refused_connections_open_the_breaker_and_nothing_is_lost(
    world: Delivering, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    scale_waits(monkeypatch, 200.0)
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))  # keeps the port, and refuses who connects to it
    port = nobody.getsockname()[1]
    world.append(events(50))
    world.start(f"http://127.0.0.1:{port}/hook")
    worker = world.worker
    assert worker is not None
    world.wait("the breaker to open", lambda: worker.snapshot().breaker == "open")
    reason = worker.snapshot().reason or ""
    during = world.state()

    nobody.close()
    receiver = HttpReceiver(port=port)
    world.wait_settled()
    world.append([(f"more{n}", f"s{n}") for n in range(2_000)])
    world.wait("the breaker to close", lambda: worker.snapshot().breaker == "closed")
    world.wait_settled()

    assert "circuit breaker open until" in reason and "calls failed" in reason
    assert (during.cursor, during.dead) == (0, 0)
    assert {id_ for id_, _ in events(50)} < set(receiver.message_ids())
    tally(2_050, len(receiver.message_ids()))
    assert worker.snapshot().reason is None
    receiver.close()


@pytest.mark.parametrize("n_bytes", [0, 1, 17, len(OK) - 1])
def test_f26_reset_after_some_bytes_is_an_unknown_outcome_and_retried_with_the_same_key(
    world: Delivering,
    monkeypatch: pytest.MonkeyPatch,
    raw_server: Callable[[Script], RawServer],
    tally: Tally,
    n_bytes: int,
) -> None:
    scale_waits(monkeypatch, 200.0)

    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        if number < 3:
            connection.sendall(OK[:n_bytes])
            return reset(connection)
        connection.sendall(OK)

    server = raw_server(script)
    world.append(events(5))
    world.start(server.url)
    world.wait_settled()

    keys = {request.split(b"Idempotency-Key: ")[1].split(b"\r\n")[0] for request in server.requests}
    bodies = {request.split(b"\r\n\r\n", 1)[1].split(b'"sentAt"')[0] for request in server.requests}
    assert len(server.requests) == 4
    assert (len(keys), len(bodies)) == (1, 1)
    assert world.worker is not None
    assert world.worker.snapshot().unknown_outcomes == 3
    tally(5, world.state().delivered)


def test_f27_connection_into_a_black_hole_ends_at_the_connect_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert http.CONNECT_TIMEOUT_S == 5.0
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.2)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        clogs = clog(hole.getsockname())
        hook = make_destination(Webhook, tmp_path, url=f"http://127.0.0.1:{hole.getsockname()[1]}/", timeout_s=30.0)

        with pytest.raises(Retry, match=r"timed out|in time"):
            hook.deliver(make_batch(["a"]))

        for one in clogs:
            one.close()


def clog(address: tuple[str, int]) -> list[socket.socket]:
    """Fill a backlog with connections until one is not let in any more."""
    clogs = []
    while True:
        clogs.append(socket.socket())
        clogs[-1].settimeout(0.2)
        try:
            clogs[-1].connect(address)
        except TimeoutError:
            return clogs


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_f28_answer_that_trickles_in_is_cut_off_at_the_total_timeout(
    tmp_path: Path, raw_server: Callable[[Script], RawServer], head: bytes
) -> None:
    ended = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(head)
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            connection.sendall(bytes([byte]))
            if ended.wait(0.05):
                return

    server = raw_server(script)
    hook = make_destination(Webhook, tmp_path, url=server.url, timeout_s=0.4)

    with pytest.raises(Retry, match=r"in time|timed out"):
        hook.deliver(make_batch(["a"]))
    ended.set()

    assert DEFAULT_TIMEOUT_S == 30.0


@pytest.mark.parametrize(
    ("header", "waited_s"),
    [
        ("7", 7.0),
        (1_000, 1_000.0),
        (-1_000, 0.0),
        ("1000000000", 3_600.0),
        (100_000_000, 3_600.0),
        ("-5", 0.5),
        ("soon", 0.5),
        ("", 0.5),
    ],
)
def test_f30_retry_after_is_honoured_up_to_an_hour_and_nonsense_is_not(
    tmp_path: Path, receiver: HttpReceiver, header: str | int, waited_s: float
) -> None:
    text = header if isinstance(header, str) else formatdate(time.time() + header, usegmt=True)
    receiver.answer = lambda request: Reply(429, {"Retry-After": text})
    hook = make_destination(Webhook, tmp_path, url=receiver.url)
    lanes = Lanes(0, Limits(), random=lambda: 0.5)
    lanes.add(b"\0", Events.of([1], ["a"], ["s"], [b"{}"]))
    (work,) = lanes.next_batches(0.0)

    with pytest.raises(Retry) as raised:
        hook.deliver(work.batch)
    lanes.complete(work, raised.value, now=0.0)
    due = lanes.next_due(0.0) if waited_s else 0.0

    assert due == pytest.approx(waited_s, abs=100.0 if isinstance(header, int) else 1e-6)
    assert lanes.next_batches(due - 0.01) == []
    assert len(lanes.next_batches(due)) == 1


def test_f31_storm_is_weathered_within_the_retry_budget_and_all_is_delivered_after_it(
    world: Delivering, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    factor = 200.0
    scale_waits(monkeypatch, factor)
    healed = threading.Event()
    receiver.answer = lambda request: Reply(200 if healed.is_set() else 503)
    for first in range(0, 2_000, 100):
        world.append([(f"m{n}", f"s{n % 50}") for n in range(first, first + 100)])
    began = time.monotonic()
    world.start(receiver.url, batch_size=50)
    world.wait("several probes", lambda: [len(r.message_ids()) for r in receiver.requests].count(1) >= 4)
    in_storm, lasted_s = list(receiver.requests), time.monotonic() - began
    dead_in_storm = world.state().dead
    healed.set()
    world.wait_settled()

    keys = [request.headers["idempotency-key"] for request in in_storm]
    n_retries = len(keys) - len(set(keys))
    assert TRANSIENT_COST * n_retries <= CAPACITY + factor * lasted_s
    sizes = [len(request.message_ids()) for request in in_storm]
    assert len([size for size in sizes if size > 1]) <= 10 + 8 - 1
    assert (dead_in_storm, world.state().delivered) == (0, 2_000)
    tally(2_000, len(receiver.message_ids()))
    assert set(receiver.message_ids()) == {f"m{n}" for n in range(2_000)}


def test_f32_one_bad_event_of_a_hundred_costs_few_calls_and_its_letter_tells_all(
    world: Delivering, receiver: HttpReceiver, tally: Tally
) -> None:
    def answer(request: Request) -> Reply:
        bad = "m37" in request.message_ids()
        return Reply(422, body=f"no\x1b[31m user\n{SECRET} {'x' * 9_000}".encode()) if bad else Reply()

    receiver.answer = answer
    world.append(events(100))
    world.start(receiver.url, headers={"Authorization": f"Bearer {SECRET}", "X-Key": SECRET})
    world.wait_settled()
    world.stop()

    (letter,) = world.letters()
    assert len(receiver.requests) <= 1 + 14
    assert (world.state().delivered, world.state().dead) == (99, 1)
    tally(100, world.state().delivered + world.state().dead)
    assert (letter.message_id, letter.http_status, letter.stage, letter.epoch) == ("m37", 422, Stage.REJECTED, 1)
    assert letter.response.startswith("no [31m user *** xxx")
    assert len(letter.response.encode()) <= 2_048
    assert SECRET not in repr(letter)
    assert (letter.attempts, letter.first_error) == (7, letter.reason)


@pytest.mark.parametrize(
    ("status", "word"), [(401, "credentials"), (403, "credentials"), (404, "gone"), (410, "gone"), (302, "moved")]
)
def test_f33_refusal_of_us_halts_with_what_to_look_at_and_resuming_delivers_all(
    world: Delivering, receiver: HttpReceiver, tally: Tally, status: int, word: str
) -> None:
    receiver.answer = lambda request: Reply(status, {"Location": "http://127.0.0.1:1/"} if status == 302 else {})
    world.append(events(20))
    world.start(receiver.url)
    assert world.worker is not None
    assert world.worker.join(30)
    reports = [world.reports.get(timeout=30) for _ in range(2)]
    refused = world.state()

    receiver.answer = lambda request: Reply()
    world.start(receiver.url)
    world.wait_settled()

    assert [report.kind for report in reports] == [ReportKind.LOADED, ReportKind.HALTED]
    assert reports[1].reason.startswith(f"{word}: ") and str(status) in reports[1].reason
    assert (refused.cursor, refused.dead) == (0, 0)
    assert world.state().dead == 0
    tally(20, world.state().delivered)


def test_f34_endless_answer_is_read_to_64_kib_and_the_batch_counts_as_delivered(
    world: Delivering, raw_server: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    feed = http._Reader.feed

    def counted(reader: http._Reader, data: bytes) -> None:
        read.append(len(data))
        feed(reader, data)

    monkeypatch.setattr(http._Reader, "feed", counted)

    def script(connection: socket.socket, number: int) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1_000):
            connection.sendall(b"x" * 1_000_000)

    server = raw_server(script)
    world.append(events(3))
    world.start(server.url)
    world.wait_settled()

    assert world.state().delivered == 3
    assert sum(read) <= http.MAX_RESPONSE_BYTES + 16 * 1024


def test_f34_gzip_bomb_is_never_inflated(world: Delivering, receiver: HttpReceiver) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    receiver.answer = lambda request: Reply(
        400 if request.message_ids() == ["m1"] or len(request.message_ids()) > 1 else 200,
        {"Content-Encoding": "gzip"},
        bomb,
    )
    world.append(events(2))
    world.start(receiver.url)
    world.wait_settled()

    (letter,) = world.letters()
    assert world.state().delivered == 1
    assert len(letter.response) <= 2_000
    assert "00000000" not in letter.response
    assert receiver.requests[0].headers["accept-encoding"] == "identity"

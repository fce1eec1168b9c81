from __future__ import annotations

import threading
from collections.abc import Sequence

from sluicegate.errors import LogDamaged, LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.eventlog.memory import MemoryLog
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import PATIENCE_S, Client, RunningGateway, batch, request, track


class StubbornLog(MemoryLog):
    """Commits when it is allowed to, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = threading.Event()
        self.entered = threading.Event()
        self.commits: list[int] = []
        self.error: LogError | None = None

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[int]:
        self.entered.set()
        assert self.allowed.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        self.commits.append(sum(map(len, batches)))
        return super().append(batches, received_at_ms=received_at_ms)


def start_with(log: StubbornLog, start_gateway: StartGateway) -> RunningGateway:
    return start_gateway(open_log=lambda: log)


def test_no_answer_before_the_commit(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    running = start_with(log, start_gateway)
    waiting, other = running.client(), running.client()
    waiting.send(request("/v1/track", track()))
    assert log.entered.wait(PATIENCE_S)

    other.get("/health")
    waiting.socket.setblocking(False)
    early = _received(waiting)
    waiting.socket.settimeout(PATIENCE_S)
    log.allowed.set()

    assert early == b""
    assert waiting.answer().status == 200
    _close(waiting, other)


def test_requests_that_come_during_a_commit_share_the_next(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    running = start_with(log, start_gateway)
    clients = [running.client() for _ in range(9)]
    clients[0].send(request("/v1/track", track("first")))
    assert log.entered.wait(PATIENCE_S)
    for number, client in enumerate(clients[1:]):
        client.send(request("/v1/batch", batch(f"{number}a", f"{number}b")))
    _until_waiting(running, 17)

    log.allowed.set()
    statuses = [client.answer().status for client in clients]

    assert statuses == [200] * 9
    assert log.commits == [1, 16]
    _close(*clients)


def test_failed_append_is_503_with_retry_after_and_never_200(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    log.allowed.set()
    log.error = LogUnavailable("the disk is full")
    client = start_with(log, start_gateway).client()

    refused = client.post("/v1/batch", batch("a"))
    ready = client.get("/ready")
    log.error = None
    accepted = client.post("/v1/batch", batch("a"))
    ready_again = client.get("/ready")

    assert (refused.status, refused.json["code"]) == (503, "log_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert (ready.status, ready_again.status) == (503, 200)
    assert "disk is full" in ready.json["message"]
    assert accepted.status == 200
    _close(client)


def test_damaged_log_is_503_and_fatal(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    log.allowed.set()
    log.error = LogDamaged("fsync failed")
    running = start_with(log, start_gateway)
    client = running.client()

    answer = client.post("/v1/track", track())
    later = client.post("/v1/track", track())

    assert answer.status == 503
    assert later.status in (429, 503)
    assert str(running.fatal.get(timeout=PATIENCE_S)) == "fsync failed"
    _close(client)


def test_client_that_left_before_the_commit_is_no_trouble(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    running = start_with(log, start_gateway)
    gone, stays = running.client(), running.client()
    gone.send(request("/v1/track", track("gone")))
    assert log.entered.wait(PATIENCE_S)
    gone.close()
    stays.send(request("/v1/track", track("stays")))

    log.allowed.set()

    assert stays.answer().status == 200
    assert log.head() == 2
    assert running.call(lambda: running.server.traffic.in_hand) == 0
    _close(stays)


def test_later_answers_wait_for_earlier_ones(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    running = start_with(log, start_gateway)
    client, other = running.client(), running.client()
    client.send(request("/v1/track", track()) + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert log.entered.wait(PATIENCE_S)
    other.get("/health")
    client.socket.setblocking(False)
    early = _received(client)
    client.socket.settimeout(PATIENCE_S)

    log.allowed.set()

    assert early == b""
    assert [client.answer().json.get(key) for key in ("accepted", "status")] == [1, "ok"]
    _close(client, other)


def test_stopping_gateway_answers_what_it_has_in_hand(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    running = start_with(log, start_gateway)
    idle, busy, reading = running.client(), running.client(), running.client()
    idle.get("/health")
    whole = request("/v1/track", track("reading"))
    reading.send(whole[:-5])
    busy.send(request("/v1/track", track("busy")))
    assert log.entered.wait(PATIENCE_S)

    running.begin_close()
    assert idle.ended()
    reading.send(whole[-5:])
    log.allowed.set()
    answers = [busy.answer(), reading.answer()]

    assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 2
    assert busy.ended()
    assert reading.ended()
    assert log.head() == 2
    _close(idle, busy, reading)


def _received(client: Client) -> bytes:
    try:
        return client.socket.recv(1_000)
    except BlockingIOError:
        return b""


def _until_waiting(running: RunningGateway, n_events: int) -> None:
    for _ in range(10_000):
        if running.call(lambda: running.server._writer._thread.waiting_events) == n_events:
            return
    raise AssertionError("the requests did not arrive")


def _close(*clients: Client) -> None:
    for client in clients:
        client.close()

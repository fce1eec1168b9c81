from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.consent.writer import LedgerWriter
from sluicegate.gateway.answer import Answer
from sluicegate.gateway.exchange import Exchange
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.traffic import Traffic
from tests.gateway.harness import PATIENCE_S, Client, RunningGateway, batch, make_config, request, track
from tests.gateway.test_commit import StubbornLog

GRANT = {"userId": "anne", "preferences": {"marketing": True}}
QUICK = Limits(answer_timeout_s=0.2, linger_s=0.2)


@pytest.fixture
def log() -> StubbornLog:
    log = StubbornLog()
    log.allowed.set()
    return log


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def gateway(tmp_path: Path, log: StubbornLog, limits: Limits) -> Iterator[RunningGateway]:
    mirror = DestinationConfig("mirror", "file", Requirement(("necessary",)), receives_consent_events=True)
    config = replace(make_config(tmp_path), destinations={"mirror": mirror})
    with closing(RunningGateway(config, open_log=lambda: log, limits=limits)) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[Client]:
    with closing(gateway.client()) as client:
        yield client


def in_hand(gateway: RunningGateway) -> tuple[int, int]:
    """Requests and bytes."""
    traffic = gateway.server.traffic
    found: tuple[int, int] = gateway.call(lambda: (traffic.in_hand, traffic.buffered_bytes))
    return found


def until(gateway: RunningGateway, holds: Callable[[], bool]) -> None:
    """Give the gateway turns of its loop until something holds there."""
    for _ in range(100_000):
        if gateway.call(holds):
            return
    raise AssertionError("it never came to that")


def handle_with(gateway: RunningGateway, path: bytes, handle: Callable[[Exchange], None]) -> None:
    route, _ = gateway.server.traffic.routes.find(path)
    object.__setattr__(route, "handle", handle)


def boom(*args: object) -> None:
    raise RuntimeError("boom")


def reset(client: Client) -> None:
    """Go away at once: the gateway loses the connection."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


HOW_CLIENTS_GO = pytest.mark.parametrize("go", [Client.close, reset], ids=["close", "reset"])


# -- who is gone, and what is never answered ---------------------------------------------------------------------------


@HOW_CLIENTS_GO
def test_requests_of_clients_that_vanish_in_a_commit_count_until_it_is_done(
    gateway: RunningGateway, log: StubbornLog, go: Callable[[Client], None]
) -> None:
    log.allowed.clear()
    clients = [gateway.client() for _ in range(8)]
    for number, one in enumerate(clients):
        one.send(request("/v1/batch", batch(f"{number}a")) + request("/v1/track", track(f"{number}b")))
    until(gateway, lambda: gateway.server.traffic.in_hand == 16)
    connections = list(gateway.server.traffic.connections)
    for one in clients:
        go(one)
    until(gateway, lambda: all(c._ended or c._transport is None for c in connections))
    vanished = in_hand(gateway)

    log.allowed.set()

    until(gateway, lambda: gateway.server.traffic.in_hand == 0)
    assert vanished[0] == 16  # what they take in memory is still there
    assert vanished[1] > 16 * 60
    assert in_hand(gateway) == (0, 0)
    assert log.head() == 16


@HOW_CLIENTS_GO
@pytest.mark.parametrize("limits", [QUICK])
def test_request_whose_client_is_gone_and_that_is_never_answered_does_not_count_for_ever(
    gateway: RunningGateway, client: Client, go: Callable[[Client], None]
) -> None:
    forgotten: list[Exchange] = []
    handle_with(gateway, b"/v1/m", forgotten.append)
    gone = gateway.client()
    gone.send(request("/v1/m", {"a": 1}) * 3)
    until(gateway, lambda: len(forgotten) == 3)
    counted = in_hand(gateway)
    go(gone)

    until(gateway, lambda: gateway.server.traffic.in_hand == 0)
    for exchange in forgotten:
        gateway.call(partial(exchange.reply, Answer(200, b"{}")))

    assert counted == (3, 3 * len(b'{"a": 1}'))
    assert in_hand(gateway) == (0, 0)
    assert client.post("/v1/track", track()).status == 200


@pytest.mark.parametrize("limits", [QUICK])
def test_request_that_is_never_answered_is_503_after_a_while_and_those_behind_it_are_answered(
    gateway: RunningGateway, client: Client
) -> None:
    handle_with(gateway, b"/v1/m", lambda exchange: None)
    client.send(request("/v1/m", {}) * 2 + request("/v1/track", track()) + request("/v1/m", {}))

    first, second, answered, last = [client.answer() for _ in range(4)]

    assert [(one.status, one.json["code"]) for one in (first, second, last)] == [(503, "timed_out")] * 3
    assert int(first.headers["retry-after"]) >= 1
    assert (answered.status, in_hand(gateway)) == (200, (0, 0))


def test_request_behind_an_answer_that_ends_the_connection_counts_until_it_is_answered(
    gateway: RunningGateway, client: Client
) -> None:
    waiting: list[Exchange] = []
    handle_with(gateway, b"/v1/m", waiting.append)
    client.send(request("/v1/m", {}) * 2)
    until(gateway, lambda: len(waiting) == 2)

    gateway.call(lambda: waiting[0].reply(Answer(200, b"{}", close=True)))
    assert client.answer().status == 200
    behind = in_hand(gateway)[0]
    gateway.call(lambda: waiting[1].reply(Answer(200, b"{}")))

    assert (behind, in_hand(gateway)) == (1, (0, 0))


def test_answer_that_cannot_be_sent_is_500_and_the_request_is_counted_down_once(
    gateway: RunningGateway, client: Client
) -> None:
    unsendable: Any = Answer(200, "no bytes")  # type: ignore[arg-type]
    handle_with(gateway, b"/v1/m", lambda exchange: exchange.reply(unsendable))

    answer = client.post("/v1/m", {})

    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert in_hand(gateway) == (0, 0)


@pytest.mark.parametrize("member", ["userId", "anonymousId"])
def test_id_that_no_message_can_hold_is_refused_however_often_it_is_sent(
    gateway: RunningGateway, client: Client, log: StubbornLog, member: str
) -> None:
    bodies = [{**GRANT, member: half} for half in ("\ud800", "a\udfff", "\udc00\ud800")]

    answers = [client.post("/v1/consent", body) for body in bodies * 3]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(400, "not_json")}
    assert (in_hand(gateway), log.head()) == ((0, 0), 0)


# -- one that fails touches no other -----------------------------------------------------------------------------------


def has_in_hand(traffic: Traffic, n: int) -> bool:
    return traffic.in_hand == n


def commit_together(gateway: RunningGateway, log: StubbornLog, *paths: str) -> list[Client]:
    """Send events, of which all but the first become one commit once the log is allowed to go on."""
    log.allowed.clear()
    log.entered.clear()
    clients = [gateway.client() for _ in paths]
    traffic = gateway.server.traffic
    for number, (client, path) in enumerate(zip(clients, paths, strict=True), 1):
        client.send(request(path, track(f"m{number}")))
        until(gateway, partial(has_in_hand, traffic, number))
        assert log.entered.wait(PATIENCE_S)
    return clients


def test_client_that_has_gone_keeps_no_other_from_its_answer_while_the_gateway_stops(
    gateway: RunningGateway, log: StubbornLog
) -> None:
    traffic = gateway.server.traffic
    first, gone, stays = commit_together(gateway, log, *["/v1/track"] * 3)
    reset(gone)
    until(gateway, lambda: len(traffic.connections) == 2)
    gateway.begin_close()
    until(gateway, lambda: traffic.draining)

    log.allowed.set()
    answers = [client.answer() for client in (first, stays)]

    assert [answer.status for answer in answers] == [200, 200]
    assert log.head() == 3
    for client in (first, stays):
        client.close()


def test_request_that_cannot_even_be_answered_with_500_loses_its_connection_and_the_others_are_answered(
    gateway: RunningGateway, log: StubbornLog
) -> None:
    traffic = gateway.server.traffic
    answered = traffic.answered

    def unless_odd(exchange: Exchange, answer: Answer) -> None:
        if exchange.query == b"odd":
            boom()
        answered(exchange, answer)

    gateway.call(lambda: setattr(traffic, "answered", unless_odd))
    first, odd, other = commit_together(gateway, log, "/v1/track", "/v1/track?odd", "/v1/track")

    log.allowed.set()

    assert [client.answer().status for client in (first, other)] == [200, 200]
    assert odd.ended()
    assert in_hand(gateway) == (0, 0)
    for client in (first, odd, other):
        client.close()


def has_queued(writer: LedgerWriter[Any], n: int) -> bool:
    return writer._queue.qsize() == n


def decide_together(gateway: RunningGateway, *bodies: object) -> list[Client]:
    """Send decisions that become one transaction of the ledger."""
    desk = gateway.server._consent
    clients = [gateway.client() for _ in bodies]
    with closing(desk._open_ledger()) as ledger:
        ledger.db.execute("BEGIN IMMEDIATE")  # the first decision waits for this, and the others for the first
        for number, (client, body) in enumerate(zip(clients, bodies, strict=True)):
            client.send(request("/v1/consent", body))
            until(gateway, partial(has_queued, desk._writer, number))
        ledger.db.execute("ROLLBACK")
    return clients


def test_decision_that_fails_after_its_write_is_500_and_the_others_of_its_transaction_are_answered(
    gateway: RunningGateway,
) -> None:
    desk = gateway.server._consent
    after_write = desk._after_write

    def fail_for_ben(told: Any, recorded: Any, answer: Any) -> None:
        if told.subject.user_id == "ben":
            boom()
        after_write(told, recorded, answer)

    gateway.call(lambda: setattr(desk, "_after_write", fail_for_ben))
    clients = decide_together(gateway, GRANT, *[{**GRANT, "userId": name} for name in ("carl", "ben", "dora")])

    answers = [client.answer() for client in clients]

    assert [answer.status for answer in answers] == [200, 200, 500, 200]
    assert answers[2].json["code"] == "internal_error"
    assert in_hand(gateway) == (0, 0)
    for client in clients:
        client.close()


def test_decision_that_fails_after_its_notice_is_stored_harms_no_event_of_the_commit(
    gateway: RunningGateway, client: Client, log: StubbornLog
) -> None:
    notices: Any = getattr(gateway.server._consent._after_write, "__self__", None)
    gateway.call(lambda: setattr(notices, "_then", boom))
    log.allowed.clear()
    with closing(gateway.client()) as first, closing(gateway.client()) as other:
        first.send(request("/v1/track", track("first")))
        assert log.entered.wait(PATIENCE_S)
        client.send(request("/v1/consent", GRANT))
        until(gateway, lambda: gateway.server._writer._thread.waiting_events == 2)
        other.send(request("/v1/track", track("other")))
        until(gateway, lambda: gateway.server._writer._thread.waiting_events == 3)

        log.allowed.set()

        assert (first.answer().status, other.answer().status) == (200, 200)
    decided = client.answer()
    assert (decided.status, decided.json["late"]) == (202, ["*"])
    assert client.post("/v1/track", track("later")).status == 200
    assert in_hand(gateway) == (0, 0)
    assert gateway.fatal.empty()


def test_decision_whose_answer_cannot_be_made_is_500(gateway: RunningGateway, client: Client) -> None:
    def answer_with_half_a_pair(told: Any, recorded: Any, answer: Any) -> None:
        answer({"stopped": {"\ud800": 1}})

    gateway.call(lambda: setattr(gateway.server._consent, "_after_write", answer_with_half_a_pair))

    assert client.post("/v1/consent", GRANT).status == 500
    assert in_hand(gateway) == (0, 0)


def test_events_that_cannot_be_handed_to_the_log_after_the_ledger_are_500(
    gateway: RunningGateway, client: Client
) -> None:
    dated = {"categoryPreferences": {"marketing": False}, "decidedAt": "2026-01-31T10:00:00Z"}
    gateway.call(lambda: setattr(gateway.server._writer, "submit", boom))

    answer = client.post("/v1/track", track(context={"consent": dated}))

    assert (answer.status, in_hand(gateway)) == (500, (0, 0))


def test_regulation_that_cannot_be_given_to_its_thread_leaves_room_for_others(gateway: RunningGateway) -> None:
    desk = gateway.server._regulations
    gateway.call(desk.close)
    with closing(gateway.client()) as client:
        handle_with(gateway, b"/v1/m", lambda exchange: desk._work(exchange, boom))

        statuses = [client.post("/v1/m", {}).status for _ in range(20)]

    assert statuses == [500] * 20

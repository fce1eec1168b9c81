from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sluicegate.config.keys.gateway import GATEWAY
from sluicegate.gateway.answer import unavailable
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.traffic import overloaded
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Client, RunningGateway, request, track
from tests.gateway.test_commit import StubbornLog
from tests.gateway.test_in_hand import until

HEAD = b"POST /v1/track HTTP/1.1\r\nHost: a\r\n" + BASIC
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


def quick(**shorter: float) -> Limits:
    """The limits with these times in seconds instead of the long ones."""
    return Limits(**shorter)  # type: ignore[arg-type]


def test_declared_body_above_the_limit_is_413_before_it_is_read(client: Client) -> None:
    answer = client.ask(HEAD + b"Content-Length: %d\r\n\r\n" % (4 * MIB + 1))

    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.json["code"] == "body_too_large"


def test_refused_client_that_sends_on_still_reads_the_answer(client: Client) -> None:
    client.send(HEAD + b"Content-Length: %d\r\n\r\n" % (16 * MIB))
    client.send(bytes(8 * MIB))

    assert client.answer().status == 413


def test_chunked_body_above_the_limit_is_413(client: Client) -> None:
    client.send(CHUNKED)
    for _ in range(5):
        client.send(b"100000\r\n" + bytes(MIB) + b"\r\n")

    assert client.answer().status == 413


def test_body_of_exactly_the_limit_is_read(client: Client) -> None:
    body = json.dumps(track()).encode().ljust(4 * MIB)

    answer = client.ask(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    assert (answer.status, answer.json["accepted"]) == (200, 1)


def test_body_of_exactly_the_limit_after_decompression_is_read(client: Client) -> None:
    body = json.dumps(track()).encode().ljust(4 * MIB)

    fitting = client.post("/v1/track", gzip.compress(body))
    too_large = client.post("/v1/track", gzip.compress(body + b" "))

    assert (fitting.status, fitting.json["accepted"]) == (200, 1)
    assert (too_large.status, too_large.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_limits_are_told_with_the_key_that_sets_them(client: Client, pack: Callable[[bytes], bytes]) -> None:
    def answered(body: dict[str, object], n_bytes: int = 0) -> str:
        answer = client.post("/v1/batch", pack(json.dumps(body).encode().ljust(n_bytes)))
        assert answer.status == 413
        message: str = answer.json["message"]
        return message

    assert "more than 512000 bytes (max_batch_size)" in answered({"batch": [track()]}, 512_001)
    assert "2500 events (max_batch_events)" in answered({"batch": [{}] * 2_501})
    assert "4194304 bytes" in (message := answered({"batch": []}, 4 * MIB + 1))
    assert "(max_body_size)" in message


def test_rejected_events_are_told_the_limit_and_its_key(start_gateway: StartGateway) -> None:
    client = start_gateway({"max_event_bytes": 2_000, "max_depth": 8}).client()
    large, deep = track(properties={"text": "x" * 2_000}), track(properties={"a": [[[[[[[[1]]]]]]]]})

    answer = client.post("/v1/batch", {"batch": [large, deep, track()]})
    single = client.post("/v1/track", large)

    assert answer.json["accepted"] == 1
    reasons = [one["reason"] for one in answer.json["rejected"]]
    assert reasons == ["larger than 2000 bytes (max_event_size)", "nested more than 8 deep (max_depth)"]
    assert single.json["rejected"][0]["reason"] == reasons[0]
    client.close()


def test_limits_that_the_page_on_http_names_are_keys_of_the_gateway() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()

    named = set(re.findall(r"`(max_\w+)`", page))

    assert named
    assert named <= {key.name for key in GATEWAY.keys}


@pytest.mark.parametrize(
    "fields",
    [
        b"X: " + b"v" * 8_200 + b"\r\n",
        b"N" * 8_200 + b": v\r\n",
        b"".join(b"X%d: v\r\n" % number for number in range(100)),
        b"".join(b"X%d: " % number + b"v" * 4_000 + b"\r\n" for number in range(9)),
    ],
    ids=["long value", "long name", "many fields", "many bytes"],
)
def test_header_above_a_limit_is_431(client: Client, fields: bytes) -> None:
    answer = client.ask(HEAD + fields + b"\r\n")

    assert (answer.status, answer.headers["connection"]) == (431, "close")


def test_header_that_never_ends_is_431(client: Client) -> None:
    client.send(HEAD + b"X: ")
    for _ in range(5):
        client.send(b"v" * 8_000)

    assert client.answer().status == 431


def test_long_target_is_414(client: Client) -> None:
    assert client.ask(b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n").status == 414


def test_flood_of_small_chunks_is_refused(client: Client) -> None:
    client.send(CHUNKED + b"1\r\na\r\n" * 10_000)

    assert client.answer().status == 400


def test_endless_chunk_extension_is_refused(client: Client) -> None:
    client.send(CHUNKED)
    client.send(b"1;")
    for _ in range(60):
        client.send(b"x" * 8_000)

    assert client.answer().status == 400


def test_trailers_count_as_header_fields(client: Client) -> None:
    client.send(CHUNKED + b"2\r\n{}\r\n0\r\n" + b"T: v\r\n" * 101 + b"\r\n")

    assert client.answer().status == 431


def test_header_that_takes_too_long_is_408(start_gateway: StartGateway) -> None:
    client = start_gateway(limits=quick(head_timeout_s=0.2)).client()

    client.send(HEAD)

    assert client.answer().status == 408
    client.close()


def test_slow_clients_are_found_also_after_a_look_that_failed(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=quick(head_timeout_s=0.2))
    client, traffic = running.client(), running.server.traffic
    tick, failed = traffic.tick, threading.Event()

    def fail_once(now: float) -> None:
        running.server.traffic.tick = tick  # type: ignore[method-assign]
        failed.set()
        raise RuntimeError("boom")

    running.call(lambda: setattr(traffic, "tick", fail_once))
    assert failed.wait(10)
    client.send(HEAD)

    assert client.answer().status == 408
    client.close()


def test_header_that_trickles_is_408(start_gateway: StartGateway) -> None:
    client = start_gateway(limits=quick(head_timeout_s=0.3)).client()
    client.socket.settimeout(0.05)

    answered = b""
    for byte in HEAD * 20:
        client.send(bytes([byte]))
        try:
            answered = client.socket.recv(100)
            break
        except TimeoutError:
            continue

    assert answered.startswith(b"HTTP/1.1 408 ")
    client.close()


def test_body_that_takes_too_long_is_408(start_gateway: StartGateway) -> None:
    client = start_gateway(limits=quick(body_timeout_s=0.2, head_timeout_s=0.4)).client()

    client.send(HEAD + b"Content-Length: 9\r\n\r\n{")

    assert client.answer().status == 408
    client.close()


def test_body_that_comes_too_slowly_is_408(start_gateway: StartGateway) -> None:
    client = start_gateway(limits=quick(body_grace_s=0.2)).client()

    client.send(HEAD + b"Content-Length: 9\r\n\r\n{")
    answer = client.answer()

    assert (answer.status, answer.json["code"]) == (408, "too_slow")
    client.close()


def pass_time(gateway: RunningGateway, seconds: float) -> None:
    """Let so much time pass in the gateway at once, and have it look for slow clients."""
    traffic = gateway.server.traffic
    before = traffic.clock
    traffic.clock = lambda: before() + seconds
    gateway.call(lambda: traffic.tick(traffic.clock()))


@pytest.mark.parametrize("cut", [30, -5], ids=["in the head", "in the body"])
@pytest.mark.parametrize(("late_s", "status"), [(4, 200), (31, 408)])
def test_client_that_was_not_read_from_has_its_whole_time_once_it_is(
    start_gateway: StartGateway, cut: int, late_s: float, status: int
) -> None:
    log = StubbornLog()
    gateway = start_gateway(open_log=lambda: log)
    wires = [request("/v1/track", track(f"m{number}")) for number in range(9)]
    with closing(gateway.client()) as client:
        client.send(b"".join(wires[:8]) + wires[8][:cut])
        until(gateway, lambda: [one._paused for one in gateway.server.traffic.connections] == [True])
        pass_time(gateway, 31)
        log.allowed.set()
        answers = [client.answer().status for _ in range(8)]

        pass_time(gateway, late_s)
        client.send(wires[8][cut:])

        assert [*answers, client.answer().status] == [200] * 8 + [status]


def test_idle_connection_is_closed_without_a_word(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=quick(keep_alive_s=0.2))
    fresh, used = running.client(), running.client()
    used.get("/health")

    assert fresh.ended()
    assert used.ended()
    fresh.close()
    used.close()


def test_client_that_reads_no_answers_is_cut(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=quick(write_timeout_s=0.2, linger_s=0.2))
    client = running.client()
    client.socket.settimeout(0.2)

    with pytest.raises((TimeoutError, ConnectionError)):
        while True:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    client.socket.settimeout(10)
    with pytest.raises(ConnectionError):
        while True:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    client.close()


def test_too_many_requests_at_once_are_429_with_retry_after(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=Limits(max_requests=2))
    waiting = [running.client() for _ in range(2)]
    for client in waiting:
        client.send(HEAD + b"Content-Length: 9\r\n\r\n{")
        _until_seen(running, client)
    late = running.client()

    answer = late.ask(request("/v1/track", track()))

    assert (answer.status, answer.json["code"]) == (429, "overloaded")
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    waiting.pop().close()
    assert _until_served(late) == 200
    for client in [*waiting, late]:
        client.close()


def test_bodies_in_memory_are_bounded(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=Limits(max_buffered_bytes=MIB))
    first = running.client()
    first.send(HEAD + b"Content-Length: %d\r\n\r\n" % MIB + b" " * (MIB - 1))
    until(running, lambda: running.server.traffic.buffered_bytes == MIB - 1)
    second, third = running.client(), running.client()

    declared = second.ask(HEAD + b"Content-Length: 200000\r\n\r\n")
    chunked = third.ask(CHUNKED + b"2\r\n{}\r\n")

    assert (declared.status, declared.headers["connection"]) == (429, "close")
    assert (chunked.status, chunked.headers["connection"]) == (429, "close")
    for client in (first, second, third):
        client.close()


def test_bodies_that_are_announced_and_do_not_come_keep_no_other_out(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=Limits(max_buffered_bytes=MIB))
    idle, other = running.client(), running.client()
    idle.send(HEAD + b"Content-Length: %d\r\n\r\n{" % MIB)
    _until_seen(running, idle)

    answers = [other.post("/v1/track", track(f"m{number}")).status for number in range(2)]

    assert answers == [200, 200]
    for client in (idle, other):
        client.close()


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "upgrade"])
def test_body_for_which_there_is_no_room_any_more_when_it_comes_is_429(
    start_gateway: StartGateway, more: bytes
) -> None:
    running = start_gateway(limits=Limits(max_buffered_bytes=MIB))
    first, second = running.client(), running.client()
    second.send(HEAD + more + b"Content-Length: 200000\r\n\r\n{")
    _until_seen(running, second)
    first.send(HEAD + b"Content-Length: %d\r\n\r\n" % (MIB - 1) + b" " * (MIB - 2))
    until(running, lambda: running.server.traffic.buffered_bytes == MIB - 1)

    answer = second.ask(b" " * 100_000)

    assert (answer.status, answer.headers["connection"], answer.json["code"]) == (429, "close", "overloaded")
    for client in (first, second):
        client.close()
    until(running, lambda: running.server.traffic.buffered_bytes == 0)


def test_decompressed_bodies_count_as_bytes_in_memory(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=Limits(max_buffered_bytes=100_000))
    client = running.client()
    large = gzip.compress(json.dumps({"batch": [track()]}).encode().ljust(200_000))
    small = gzip.compress(json.dumps({"batch": [track()]}).encode().ljust(50_000))

    answers = [client.post("/v1/batch", body) for body in (large, small, large, small)]

    assert [answer.status for answer in answers] == [429, 200, 429, 200]
    assert running.call(lambda: running.server.traffic.buffered_bytes) == 0
    client.close()


def test_waits_are_whole_seconds_from_1_to_5_and_differ() -> None:
    refusals = [overloaded("x") for _ in range(300)] + [unavailable("x", "x") for _ in range(300)]

    assert {dict(answer.headers)[b"Retry-After"] for answer in refusals} == {b"1", b"2", b"3", b"4", b"5"}


def test_too_many_connections_are_503(start_gateway: StartGateway) -> None:
    running = start_gateway(limits=Limits(max_connections=1))
    first, second = running.client(), running.client()
    first.get("/health")

    answer = second.answer()

    assert (answer.status, answer.json["code"]) == (503, "too_many_connections")
    assert int(answer.headers["retry-after"]) >= 1
    assert second.ended()
    first.close()
    second.close()


def _until_seen(running: RunningGateway, client: Client) -> None:
    """Wait until the gateway has the header that this client sent."""
    for _ in range(1_000):
        if running.call(lambda: any(c._reader.current for c in running.server.traffic.connections if _is(c, client))):
            return
    raise AssertionError("the gateway did not see the request")


def _is(connection: object, client: Client) -> bool:
    transport = connection._transport  # type: ignore[attr-defined]
    return bool(transport.get_extra_info("peername") == client.socket.getsockname())


def _until_served(client: Client) -> int:
    for _ in range(1_000):
        status = client.post("/v1/track", track()).status
        if status != 429:
            break
    return status

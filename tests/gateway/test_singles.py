from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.gateway.protocol import Connection
from sluicegate.gateway.singles import MAX_TOGETHER
from sluicegate.paths import DataDir
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Answered, Client, RunningGateway, batch, request, track

SEVERAL = 6
SHOP = b"Authorization: Bearer shop-key\r\n"
PLAIN = {"timestamp": "2026-01-01T00:00:00.000Z"}


class Crowd:
    """Several clients whose requests the gateway reads in one turn of its loop."""

    def __init__(self, gateway: RunningGateway, n_clients: int) -> None:
        self._gateway = gateway
        self._clients: list[Client] = []
        self._connections: list[Connection] = []
        for _ in range(n_clients):
            others = set(gateway.server.traffic.connections)
            self._clients.append(gateway.client())
            self._clients[-1].get("/health")  # now the gateway has the connection
            self._connections += gateway.server.traffic.connections - others

    def ask(self, *wires: bytes) -> list[Answered]:
        """Send one request over each connection; the gateway has seen the heads of all of them."""

        def read_all() -> None:
            for connection, wire in zip(self._connections, wires, strict=False):
                connection.data_received(wire)

        self._gateway.call(read_all)
        return [client.answer() for client, _ in zip(self._clients, wires, strict=False)]

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def crowd(gateway: RunningGateway, client: Client) -> Iterator[Crowd]:
    client.get("/health")
    made = Crowd(gateway, SEVERAL + 4)
    yield made
    made.close()


def plain(message_id: str, **more: object) -> dict[str, object]:
    return {**track(message_id), **PLAIN, **more}


def learn(client: Client, *wires: bytes) -> None:
    """Have the gateway see the heads of these requests."""
    for wire in wires:
        client.ask(wire)


def rows_of(gateway: RunningGateway) -> list[int]:
    log = SqliteLog(DataDir(gateway.config.data_dir).event_log)
    try:
        return [row.count for row in log.read(0, max_events=1_000, max_bytes=1 << 30)]
    finally:
        log.close()


def ids(events: Sequence[dict[str, object]]) -> list[object]:
    return [event["messageId"] for event in events]


@pytest.mark.parametrize("n_singles", [1, 2, SEVERAL])
def test_singles_of_one_turn_are_one_row_and_each_is_answered(
    gateway: RunningGateway, client: Client, crowd: Crowd, n_singles: int
) -> None:
    learn(client, request("/v1/track", plain("m0")))

    answers = crowd.ask(*[request("/v1/track", plain(f"m{number}")) for number in range(1, n_singles + 1)])

    assert [(answer.status, answer.json["accepted"]) for answer in answers] == [(200, 1)] * n_singles
    assert ids(gateway.stored()) == [f"m{number}" for number in range(n_singles + 1)]
    assert rows_of(gateway) == [1, n_singles]


@pytest.mark.parametrize("n_others", [2, SEVERAL])
def test_odd_event_among_singles_is_answered_for_itself(
    gateway: RunningGateway, client: Client, crowd: Crowd, n_others: int
) -> None:
    good, bad = request("/v1/track", plain("m1")), request("/v1/track", plain("m2", userId=""))
    worse = request("/v1/track", b"{" + b" " * (len(good) - good.index(b"{") - 2) + b"!")
    learn(client, good, bad, worse)

    others = [request("/v1/track", plain(f"m{number}")) for number in range(3, 3 + n_others)]

    answers = crowd.ask(others[0], bad, worse, *others[1:])

    assert [answer.status for answer in answers] == [200, 200, 400, *[200] * (n_others - 1)]
    assert answers[1].json["rejected"][0]["reason"] == "neither userId nor anonymousId"
    assert ids(gateway.stored())[1:] == [f"m{number}" for number in range(3, 3 + n_others)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"track","a":[1]},{"b":2}',
        b'{"type":"track"}],"batch":[{"b":2}',
        b'{"type":"track"}]} {"batch":[{}',
        b'{"type":"track"}]}',
        b'{"batch":[{}]},{}',
    ],
)
def test_body_that_would_break_out_of_its_place_is_refused_alone(
    gateway: RunningGateway, client: Client, crowd: Crowd, body: bytes
) -> None:
    learn(client, request("/v1/track", plain("m0")), request("/v1/track", body))

    others = [request("/v1/track", plain(f"m{number}")) for number in range(1, SEVERAL + 1)]

    answers = crowd.ask(others[0], request("/v1/track", body), *others[1:])

    assert [answer.status for answer in answers] == [200, 400, *[200] * (SEVERAL - 1)]
    assert ids(gateway.stored()) == [f"m{number}" for number in range(SEVERAL + 1)]


def test_type_is_checked_against_the_address_of_its_own_request(
    gateway: RunningGateway, client: Client, crowd: Crowd
) -> None:
    page = request("/v1/page", plain("m1", type="page"))
    wrong = request("/v1/page", plain("m2"))
    learn(client, request("/v1/track", plain("m0")), page, wrong)

    answers = crowd.ask(request("/v1/track", plain("m3")), page.replace(b"m1", b"m4"), wrong)

    assert [answer.json["accepted"] for answer in answers] == [1, 1, 0]
    assert [(event["messageId"], event["type"]) for event in gateway.stored()][2:] == [("m3", "track"), ("m4", "page")]


def test_events_are_stored_in_the_order_in_which_their_requests_came(
    gateway: RunningGateway, client: Client, crowd: Crowd
) -> None:
    learn(client, request("/v1/track", plain("m0")), request("/v1/batch", batch("b0")))

    crowd.ask(request("/v1/track", plain("m1")), request("/v1/batch", batch("b1")), request("/v1/track", plain("m2")))

    assert ids(gateway.stored()) == ["m0", "b0", "m1", "b1", "m2"]


def test_each_single_is_stored_under_the_source_of_its_own_key(
    gateway: RunningGateway, client: Client, crowd: Crowd
) -> None:
    wires = [
        request("/v1/track", plain(f"m{number}"), headers=headers)
        for number, headers in enumerate((BASIC, SHOP, b"Authorization: Bearer nobodys\r\n", BASIC))
    ]
    learn(client, *wires)

    answers = crowd.ask(*[wire.replace(b': "m', b': "n') for wire in wires])

    log = SqliteLog(DataDir(gateway.config.data_dir).event_log)
    metas = [row.meta for row in log.read(3, max_events=100, max_bytes=1 << 30)]
    found = [
        (id_, meta.combos[of].source) for meta in metas for id_, of in zip(meta.message_ids, meta.combo_of, strict=True)
    ]
    log.close()
    assert [answer.status for answer in answers] == [200, 200, 401, 200]
    assert found == [("n0", "web"), ("n1", "shop"), ("n3", "web")]


def test_event_sent_twice_in_one_turn_is_stored_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"log": LogConfig()})
    client = gateway.client()
    learn(client, request("/v1/track", plain("m0")))
    crowd = Crowd(gateway, 3)

    answers = crowd.ask(*[request("/v1/track", plain(name)) for name in ("m1", "m1", "m2")])

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert ids(gateway.stored()) == ["m0", "m1", "m2"]
    crowd.close()
    client.close()


def test_more_singles_than_a_row_may_hold_are_all_stored(gateway: RunningGateway, client: Client) -> None:
    learn(client, request("/v1/track", plain("m0000")))
    (connection,) = gateway.server.traffic.connections
    wires = [request("/v1/track", plain(f"m{number:04d}")) for number in range(1, MAX_TOGETHER + 60)]

    def read_all() -> None:
        for wire in wires:
            connection.data_received(wire)

    gateway.call(read_all)
    statuses = {client.answer().status for _ in wires}

    assert statuses == {200}
    assert ids(gateway.stored()) == [f"m{number:04d}" for number in range(MAX_TOGETHER + 60)]


def test_request_that_asks_for_something_special_is_treated_specially(
    gateway: RunningGateway, client: Client, crowd: Crowd
) -> None:
    wire = request("/v1/track", plain("m0", context={"ip": "203.0.113.7"}), headers=BASIC + b"X-IP-Policy: drop\r\n")
    learn(client, wire, request("/v1/track", plain("p0")))

    crowd.ask(wire.replace(b"m0", b"m1"), request("/v1/track", plain("p1")))

    assert [event.get("context") for event in gateway.stored()[2:]] == [gateway.stored()[0]["context"], None]


def test_key_in_an_event_is_not_stored_when_the_head_of_its_request_is_known(
    gateway: RunningGateway, client: Client
) -> None:
    for number in range(3):
        assert client.post("/v1/track", plain(f"m{number}", writeKey="web-key")).status == 200

    assert [event["writeKey"] for event in gateway.stored()] == ["***"] * 3

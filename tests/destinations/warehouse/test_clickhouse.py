from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.destinations.clickhouse import ClickHouse
from sluicegate.errors import CredentialsRefused, NotReady, Rejected
from sluicegate.network import Network
from sluicegate.testing.destination_contract import make_destination
from tests.destinations.warehouse.clickhouse_peer import ClickHousePeer, ClickHouseServer
from tests.destinations.warehouse.events import batch_of, identify, track


@pytest.fixture
def peer(clickhouse: ClickHouseServer) -> ClickHousePeer:
    return ClickHousePeer(clickhouse)


@pytest.fixture
def destination(peer: ClickHousePeer, tmp_path: Path) -> Iterator[ClickHouse]:
    made = peer.make(tmp_path)
    made.initialize()
    yield made
    made.destroy()


def test_columns_have_the_types_of_what_came_first(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(track(a=1, b=1.5, c=True, d="2026-01-05T12:00:00+01:00", e="x", f=[1, {"g": 2}])))

    found = peer.tables()["order_completed"]
    assert {name: found[name] for name in ("id", "timestamp", *"abcdef")} == {
        "id": "String",
        "timestamp": "DateTime64(3, 'UTC')",
        "a": "Nullable(Int64)",
        "b": "Nullable(Float64)",
        "c": "Nullable(Bool)",
        "d": "Nullable(DateTime64(3, 'UTC'))",
        "e": "Nullable(String)",
        "f": "Nullable(String)",
    }
    assert peer.rows("a, b, c, d, e, f", "order_completed") == [
        [1, 1.5, True, "2026-01-05 11:00:00.000", "x", '[1,{"g":2}]']
    ]


def test_batch_that_comes_again_collapses(destination: ClickHouse, peer: ClickHousePeer) -> None:
    batch = batch_of(track(a=1), track(a=2))

    destination.deliver(batch)
    destination.deliver(batch)

    assert peer.ids("tracks") == peer.ids("order_completed") == ["m-1", "m-2"]


def test_tables_change_with_the_events(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(track(price=19)))
    destination.deliver(batch_of(track(price=18.99, colour="red"), first=2))

    assert peer.rows("price, colour", "order_completed", "ORDER BY id") == [[19, None], [18.99, "red"]]


def test_column_whose_numbers_would_change_stays(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(track(price=2**60 + 1)))

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(price=1.5), track(price=3), first=2))

    assert isinstance(raised.value.reasons, dict)
    assert list(raised.value.reasons) == [0]
    assert peer.ids() == ["m-1", "m-3"]


def test_users_have_the_latest_value_of_each_trait(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(identify("ann", plan="free", city="Rome"), identify("bob", age=3)))
    destination.deliver(batch_of(identify("ann", plan="pro"), identify("bob", age=3.5), first=3))

    assert peer.rows("id, plan, city, age", "users", "ORDER BY id") == [
        ["ann", "pro", "Rome", None],
        ["bob", None, None, 3.5],
    ]


def test_event_never_lands_in_the_table_of_another(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(track("Zażółć", a=1), track("Zaśółć 'x' \\", a="x")))
    destination.forget()
    destination.deliver(batch_of(track("zażółć", a=2), track("Zaśółć 'x' \\", a="y"), track("Zaśółć", a="z"), first=3))

    assert peer.rows("a", "za", "ORDER BY id") == [[1], [2]]
    assert peer.rows("a", "za_x", "ORDER BY id") == [["x"], ["y"]]
    (other,) = set(peer.tables()) - {"za", "za_x", "tracks"}
    assert peer.rows("a", other) == [["z"]]


def test_times_that_the_engine_cannot_hold_are_texts(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(batch_of(track(born="1850-02-03", died="1931-01-02")))

    assert peer.rows("born, died", "order_completed") == [["1850-02-03", "1931-01-02 00:00:00.000"]]


@pytest.mark.parametrize("kind", ["UUID", "IPv4", "UInt8"])
def test_value_that_a_column_of_yours_cannot_hold_is_rejected(
    destination: ClickHouse, peer: ClickHousePeer, kind: str
) -> None:
    columns = f"id String, timestamp DateTime64(3, 'UTC'), a {kind}"
    destination.deliver(batch_of(track("Other")))
    peer.server.ask(f"CREATE TABLE {peer.name}.order_completed ({columns}) ENGINE = ReplacingMergeTree ORDER BY id")

    with pytest.raises(Rejected, match="ClickHouse"):
        destination.deliver(batch_of(track(a=300 if kind == "UInt8" else "none"), first=2))


def test_event_without_a_time_is_stored(destination: ClickHouse, peer: ClickHousePeer) -> None:
    destination.deliver(
        batch_of(track(a=1) | {"timestamp": None}, track(a=1) | {"timestamp": None, "receivedAt": None})
    )

    assert peer.rows("timestamp", "tracks", "ORDER BY id") == [["2026-01-05 12:00:00.000"], ["1970-01-01 00:00:00.000"]]


def test_wrong_password_pauses(peer: ClickHousePeer, tmp_path: Path) -> None:
    with pytest.raises(CredentialsRefused, match="Authentication failed") as raised:
        peer.make(tmp_path, password="wrong-word").initialize()

    assert "wrong-word" not in str(raised.value)


def test_server_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="ClickHouse"):
        make_destination(ClickHouse, tmp_path, url="http://127.0.0.1:9").initialize()


def test_timeout_below_a_second_is_one_and_no_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        destination = make_destination(ClickHouse, tmp_path, timeout_s=0.5, url=url)
        began = time.monotonic()

        with pytest.raises(NotReady, match="timed out"):
            destination.initialize()

        assert time.monotonic() - began < 5
        destination.destroy()


def test_private_address_is_refused_unless_allowed(peer: ClickHousePeer, tmp_path: Path) -> None:
    destination = make_destination(ClickHouse, tmp_path, network=Network(), url=peer.server.url)

    with pytest.raises(CredentialsRefused, match=r"\[network\] allow"):
        destination.initialize()

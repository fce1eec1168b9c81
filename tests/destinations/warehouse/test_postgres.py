from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.destinations.postgres import Postgres
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry
from sluicegate.network import Network
from sluicegate.testing.destination_contract import make_destination, run_together
from tests.destinations.warehouse.events import batch_of, identify, track
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.postgres_cluster import PostgresCluster


@pytest.fixture
def peer(cluster: PostgresCluster) -> PostgresPeer:
    return PostgresPeer(cluster)


@pytest.fixture
def destination(peer: PostgresPeer, tmp_path: Path) -> Iterator[Postgres]:
    made = peer.make(tmp_path)
    made.initialize()
    yield made
    made.destroy()


def test_each_kind_of_event_has_its_table(destination: Postgres, peer: PostgresPeer) -> None:
    kinds: list[dict[str, Any]] = [
        track("Order Completed", total=25),
        identify("ann", plan="pro"),
        {"type": "page", "name": "Home"},
        {"type": "screen", "name": "Start"},
        {"type": "group", "groupId": "acme", "traits": {"plan": "pro"}},
        {"type": "alias", "userId": "ann", "previousId": "visitor"},
    ]

    destination.deliver(batch_of(*kinds))

    names = {"tracks", "order_completed", "identifies", "users", "pages", "screens", "groups", "aliases"}
    assert set(peer.tables()) == names
    assert peer.rows("SELECT id, event, total, context_destination_id FROM order_completed") == [
        ("m-1", "order_completed", 25, "under-test")
    ]
    assert peer.rows("SELECT id, plan FROM users") == [("ann", "pro")]


def test_columns_have_the_types_of_what_came_first(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a=1, b=1.5, c=True, d="2026-01-05T12:00:00+01:00", e="x", f=[1, {"g": 2}])))

    found = peer.tables()["order_completed"]
    assert {name: found[name] for name in "abcdef"} == {
        "a": "bigint",
        "b": "double precision",
        "c": "boolean",
        "d": "timestamp with time zone",
        "e": "text",
        "f": "text",
    }
    assert peer.rows("SELECT d AT TIME ZONE 'UTC', f FROM order_completed")[0][1] == '[1,{"g":2}]'


def test_batch_that_comes_again_is_stored_once(destination: Postgres, peer: PostgresPeer) -> None:
    batch = batch_of(track(a=1), track(a=2))

    destination.deliver(batch)
    destination.deliver(batch)

    assert peer.ids("tracks") == peer.ids("order_completed") == ["m-1", "m-2"]


def test_new_columns_are_added(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a=1)))

    destination.deliver(batch_of(track(b="x"), first=2))

    assert peer.rows("SELECT a, b FROM order_completed ORDER BY id") == [(1, None), (None, "x")]


def test_whole_numbers_make_room_for_fractions(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(price=19)))

    destination.deliver(batch_of(track(price=18.99), first=2))

    assert peer.rows("SELECT price FROM order_completed ORDER BY id") == [(19.0,), (18.99,)]


@pytest.mark.parametrize("reason", ["a number would change", "a view needs the column"])
def test_column_that_cannot_be_widened_stays(destination: Postgres, peer: PostgresPeer, reason: str) -> None:
    destination.deliver(batch_of(track(price=2**60 + 1)))
    if reason == "a view needs the column":
        peer.run("UPDATE order_completed SET price = 1")
        peer.run("CREATE VIEW prices AS SELECT price FROM order_completed")

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(price=18.99), track(price=3), first=2))

    assert raised.value.reasons == {
        0: "order_completed.price: '18.99' is of type float, and the column of type int; make the column a text"
    }
    assert peer.ids() == ["m-1", "m-3"]


def test_value_of_another_type_rejects_its_event_alone(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(total=1)))

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(total=2), track(total="much"), track(total="3"), first=2))

    assert isinstance(raised.value.reasons, dict)
    assert list(raised.value.reasons) == [1]
    assert peer.rows("SELECT id, total FROM order_completed ORDER BY id") == [("m-1", 1), ("m-2", 2), ("m-4", 3)]
    assert peer.ids() == ["m-1", "m-2", "m-4"]


def test_texts_take_everything(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a="x")))

    destination.deliver(batch_of(track(a=1), track(a=True), track(a="2026-01-05"), track(a=[1]), first=2))

    assert peer.rows("SELECT a FROM order_completed ORDER BY id") == [
        ("x",),
        ("1",),
        ("true",),
        ("2026-01-05",),
        ("[1]",),
    ]


def test_columns_that_are_named_keep_json(peer: PostgresPeer, tmp_path: Path) -> None:
    destination = peer.make(tmp_path, json_columns=["cart"])
    destination.initialize()

    destination.deliver(batch_of(track(cart={"items": [1, 2], "nul": "a\0b"})))

    assert peer.tables()["order_completed"]["cart"] == "jsonb"
    assert peer.rows("SELECT cart FROM order_completed") == [({"items": [1, 2], "nul": "ab"},)]
    destination.destroy()


def test_users_have_the_latest_value_of_each_trait(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(
        batch_of(identify("ann", plan="free", city="Rome"), identify("bob"), identify("ann", plan="pro"))
    )
    destination.deliver(batch_of(identify("ann", "2026-01-06T00:00:00.000Z", plan="team"), first=4))
    destination.deliver(batch_of(identify("ann", "2026-01-04T00:00:00.000Z", plan="old"), first=5))

    assert peer.rows("SELECT id, plan, city FROM users ORDER BY id") == [("ann", "team", "Rome"), ("bob", None, None)]
    assert len(peer.ids("identifies")) == 5


def test_event_never_lands_in_the_table_of_another(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track("Zażółć", a=1), track("Zaśółć", a="x")))
    destination.forget()
    destination.deliver(batch_of(track("zażółć", a=2), track("Zaśółć", a="y"), track("ZAŻÓŁĆ", a=3), first=3))

    (other,) = [name for name in peer.tables() if name.startswith("za_")]
    assert peer.rows("SELECT event_text, a FROM za ORDER BY id") == [("Zażółć", 1), ("zażółć", 2), ("ZAŻÓŁĆ", 3)]
    assert peer.rows(f"SELECT event_text, a FROM {other} ORDER BY id") == [("Zaśółć", "x"), ("Zaśółć", "y")]


def test_event_with_too_many_columns_is_rejected_alone(destination: Postgres, peer: PostgresPeer) -> None:
    many = {f"p{n}": n for n in range(200)}

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(**many), track(a=1)))

    assert raised.value.reasons == {0: "has more than 200 columns; send fewer properties, or one as a list"}
    assert peer.ids() == ["m-2"]


def test_tables_are_bounded(peer: PostgresPeer, tmp_path: Path) -> None:
    destination = peer.make(tmp_path, max_tables=3)
    destination.initialize()

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(*(track(f"Event {n}") for n in range(4))))

    assert isinstance(raised.value.reasons, dict)
    assert list(raised.value.reasons) == [2, 3]
    assert set(peer.tables()) == {"tracks", "event_0", "event_1"}
    destination.destroy()


def test_refusal_of_the_server_rejects_the_batch_as_a_whole(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a=1)))
    peer.run("ALTER TABLE order_completed ADD CHECK (a <> 7)")

    with pytest.raises(Rejected, match="violates check constraint") as raised:
        destination.deliver(batch_of(track(a=7), track(a=2), first=2))

    assert isinstance(raised.value.reasons, str)
    assert peer.ids() == ["m-1"]


def test_table_that_was_dropped_is_made_again(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a=1)))
    peer.run("DROP TABLE order_completed")
    with pytest.raises(Retry):
        destination.deliver(batch_of(track(a=2), first=2))

    destination.deliver(batch_of(track(a=2), first=2))

    assert peer.ids("order_completed") == ["m-2"]


def test_table_without_a_unique_id_pauses_with_what_to_do(destination: Postgres, peer: PostgresPeer) -> None:
    peer.run(f"CREATE TABLE tracks (id text); ALTER TABLE tracks OWNER TO {peer.name}")

    with pytest.raises(CredentialsRefused, match="CREATE UNIQUE INDEX"):
        destination.deliver(batch_of(track(a=1)))


def test_several_may_make_tables_at_a_time(peer: PostgresPeer, tmp_path: Path) -> None:
    makers = [peer.make(tmp_path) for _ in range(4)]
    start = threading.Barrier(len(makers))

    def deliver(index: int) -> None:
        makers[index].initialize()
        start.wait()
        for n in range(3):
            own = {f"c{index}_{n}": n, f"shared_{n}": index}
            makers[index].deliver(batch_of(track(f"Event {n}", **own), first=100 * index + n))
        makers[index].destroy()

    failures = run_together([lambda index=index: deliver(index) for index in range(len(makers))])  # type: ignore[misc]

    assert failures == []
    assert len(peer.ids()) == 12
    assert {f"c{index}_1" for index in range(4)} <= set(peer.tables()["event_1"])


def test_connection_that_was_ended_is_made_again(destination: Postgres, peer: PostgresPeer) -> None:
    destination.deliver(batch_of(track(a=1)))
    peer.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{peer.name}'")

    for _ in range(2):  # the end may be noticed while sending
        try:
            destination.deliver(batch_of(track(a=2), first=2))
        except Retry:
            continue

    assert peer.ids() == ["m-1", "m-2"]


def test_lock_that_is_held_too_long_means_retry(peer: PostgresPeer, tmp_path: Path) -> None:
    destination = peer.make(tmp_path)
    destination.initialize()
    destination.deliver(batch_of(track(a=1)))
    destination.destroy()
    hasty = make_destination(Postgres, tmp_path, timeout_s=0.2, **peer.login())
    with peer.cluster.connect() as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {peer.name}.tracks")

        with pytest.raises(Retry, match="lock timeout"):
            hasty.deliver(batch_of(track(a=2), first=2))

    hasty.deliver(batch_of(track(a=2), first=2))
    assert peer.ids() == ["m-1", "m-2"]
    hasty.destroy()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "nosuchdb"}, "does not exist"),
        ({"user": "nobody"}, "authentication failed"),
        ({"sslmode": "require"}, "does not support SSL"),
    ],
)
def test_login_that_is_refused_pauses(peer: PostgresPeer, tmp_path: Path, changed: dict[str, str], text: str) -> None:
    with pytest.raises(CredentialsRefused, match=text):
        peer.make(tmp_path, **changed).initialize()


def test_schema_that_may_not_be_made_pauses(peer: PostgresPeer, tmp_path: Path) -> None:
    with pytest.raises(CredentialsRefused, match="permission denied"):
        peer.make(tmp_path, schema="another").initialize()


def test_user_that_may_not_make_tables_is_told_by_test(peer: PostgresPeer, tmp_path: Path) -> None:
    peer.run(f"ALTER SCHEMA {peer.name} OWNER TO owner")
    destination = peer.make(tmp_path)
    destination.initialize()

    with pytest.raises(CredentialsRefused, match="GRANT CREATE, USAGE ON SCHEMA"):
        destination.test()

    destination.destroy()


def test_server_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 9, "dbname": "x", "user": "x"}

    with pytest.raises(NotReady, match="Connection refused"):
        make_destination(Postgres, tmp_path, **settings).initialize()


@pytest.mark.parametrize("form", ["host", "dsn", "socket"])
def test_private_address_is_refused_unless_allowed(peer: PostgresPeer, tmp_path: Path, form: str) -> None:
    given = {"dsn": peer.cluster.dsn} if form == "dsn" else peer.login()
    if form == "socket":
        given["host"] = str(peer.cluster.socket_folder)
    destination = make_destination(Postgres, tmp_path, network=Network(), **given)

    with pytest.raises(CredentialsRefused, match=r"\[network\] allow"):
        destination.initialize()


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("host=127.0.0.1 port=54x32 dbname=x user=x", "port that is no number"),
        ("host=127.0.0.1,127.0.0.1,127.0.0.1 port=1,2 dbname=x user=x", "another number of ports"),
    ],
)
def test_dsn_with_wrong_ports_says_what_is_wrong(tmp_path: Path, dsn: str, text: str) -> None:
    with pytest.raises(CredentialsRefused, match=text):
        make_destination(Postgres, tmp_path, dsn=dsn).initialize()


def test_dsn_and_socket_lead_to_the_database(peer: PostgresPeer, tmp_path: Path) -> None:
    dsn = f"postgresql://{peer.name}:{peer.name}@localhost:{peer.cluster.port}/postgres"
    ways = [{"dsn": dsn}, peer.login() | {"host": str(peer.cluster.socket_folder)}]

    for n, way in enumerate(ways):
        destination = make_destination(Postgres, tmp_path, **way | {"schema": peer.name})
        destination.initialize()
        destination.test()
        destination.deliver(batch_of(track(a=n), first=n))
        destination.destroy()

    assert peer.ids() == ["m-0", "m-1"]


def test_password_is_in_no_error(peer: PostgresPeer, tmp_path: Path) -> None:
    destination = make_destination(Postgres, tmp_path, dsn="postgresql://u:s3cret-word@127.0.0.1:9/x y=z&&")

    with pytest.raises((CredentialsRefused, NotReady)) as raised:
        destination.initialize()

    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in json.dumps(str(destination.settings))


def test_server_that_says_nothing_any_more_is_tried_again(
    peer: PostgresPeer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = peer.make(tmp_path, timeout_s=0.3)
    request.addfinalizer(destination.destroy)
    destination.deliver(batch_of(track(a=1)))
    ((backend,),) = peer.rows(f"SELECT pid FROM pg_stat_activity WHERE usename = '{peer.name}'")
    request.addfinalizer(lambda: os.kill(backend, signal.SIGCONT))
    os.kill(backend, signal.SIGSTOP)

    with pytest.raises(Retry, match="did not answer in time"):
        destination.deliver(batch_of(track(a=2), first=2))
    destination.deliver(batch_of(track(a=2), first=2))

    assert peer.ids() == ["m-1", "m-2"]

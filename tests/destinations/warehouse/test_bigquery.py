from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.bigquery import NEW_COLUMN_WAIT_S, BigQuery
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry
from sluicegate.network import Network
from sluicegate.testing.destination_contract import make_batch, make_destination
from tests.destinations.warehouse.events import batch_of, identify, track
from tests.doubles.bigquery_server import BigQueryServer


@pytest.fixture
def vendor() -> Iterator[BigQueryServer]:
    running = BigQueryServer()
    yield running
    running.close()


@pytest.fixture
def destination(vendor: BigQueryServer, tmp_path: Path) -> Iterator[BigQuery]:
    made = make(vendor, tmp_path)
    made.initialize()
    yield made
    made.destroy()


def make(vendor: BigQueryServer, tmp_path: Path, **settings: Any) -> BigQuery:
    given = {"project": "project-1", "endpoint": vendor.url, "credentials": vendor.key} | settings
    found = make_destination(BigQuery, tmp_path, **given)
    assert isinstance(found, BigQuery)
    return found


def types(vendor: BigQueryServer, table: str) -> dict[str, str]:
    return {field["name"]: field["type"] for field in vendor.tables[table]["schema"]["fields"]}


def test_each_kind_of_event_has_its_table(destination: BigQuery, vendor: BigQueryServer) -> None:
    group = {"type": "group", "groupId": "acme"}

    destination.deliver(batch_of(track(a=1), identify("ann", plan="pro"), {"type": "page"}, group, track("Groups")))

    assert set(vendor.tables) == {
        *("tracks", "order_completed", "identifies", "users", "pages", "_groups", "__groups"),
    }
    assert vendor.tables["tracks"]["timePartitioning"]["field"] == "loaded_at"
    (user,) = vendor.rows["users"]
    assert (user["id"], user["plan"]) == ("ann", "pro")
    assert user["loaded_at"] == user["uuid_ts"]


def test_columns_have_the_types_of_what_came_first(destination: BigQuery, vendor: BigQueryServer) -> None:
    destination.deliver(batch_of(track(a=1, b=1.5, c=True, d="2026-01-05", e="x", f=[1], partition=1, _TABLE_x=2)))

    found = types(vendor, "order_completed")
    assert {name: found[name] for name in (*"abcdef", "__partition", "table_x")} == {
        "a": "INTEGER",
        "b": "FLOAT",
        "c": "BOOLEAN",
        "d": "TIMESTAMP",
        "e": "STRING",
        "f": "STRING",
        "__partition": "INTEGER",
        "table_x": "INTEGER",
    }


def test_batch_that_comes_again_has_the_same_insert_ids(destination: BigQuery, vendor: BigQueryServer) -> None:
    batch = batch_of(track(a=1), track(a=2))

    destination.deliver(batch)
    destination.deliver(batch)

    assert [row["id"] for row in vendor.rows["order_completed"]] == ["m-1", "m-2"]


def test_id_that_is_longer_than_an_insert_id_may_be_is_still_told_apart(
    destination: BigQuery, vendor: BigQueryServer
) -> None:
    ids = [f"{'m' * 250}-{n}" for n in range(2)]
    batch = make_batch(ids, raws=[msgspec.json.encode(track(a=n)) for n in range(2)])

    destination.deliver(batch)
    destination.deliver(batch)

    assert [row["id"] for row in vendor.rows["order_completed"]] == ids


def test_tables_change_with_the_events(destination: BigQuery, vendor: BigQueryServer) -> None:
    destination.deliver(batch_of(track(price=19)))
    destination.deliver(batch_of(track(price=18.99, colour="red"), first=2))

    assert types(vendor, "order_completed")["price"] == "FLOAT"
    assert [row["price"] for row in vendor.rows["order_completed"]] == [19, 18.99]


def test_column_whose_numbers_would_change_stays(destination: BigQuery, vendor: BigQueryServer) -> None:
    destination.deliver(batch_of(track(price=2**60 + 1)))

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(price=1.5), track(price=3), first=2))

    assert isinstance(raised.value.reasons, dict)
    assert list(raised.value.reasons) == [0]


def test_row_that_is_refused_rejects_its_event_alone(destination: BigQuery, vendor: BigQueryServer) -> None:
    destination.deliver(batch_of(track(a=1)))
    for field in vendor.tables["order_completed"]["schema"]["fields"]:
        field["type"] = "TIMESTAMP" if field["name"] == "a" else field["type"]

    with pytest.raises(Rejected) as raised:
        destination.deliver(batch_of(track(a=2), track(), first=2))

    assert raised.value.reasons == {0: "BigQuery: order_completed: a: Cannot convert value to TIMESTAMP: 2"}
    assert [row["id"] for row in vendor.rows["tracks"]] == ["m-1", "m-3"]


def test_column_that_streaming_has_not_seen_yet_means_retry(destination: BigQuery, vendor: BigQueryServer) -> None:
    vendor.unseen.add("a")

    with pytest.raises(Retry, match="no such field: a") as raised:
        destination.deliver(batch_of(track(a=1)))

    assert raised.value.after_s == NEW_COLUMN_WAIT_S


def test_column_whose_new_type_streaming_has_not_seen_yet_means_retry(
    destination: BigQuery, vendor: BigQueryServer
) -> None:
    destination.deliver(batch_of(track(price=19)))
    vendor.lags = True

    with pytest.raises(Retry, match="price") as raised:
        destination.deliver(batch_of(track(price=18.99), first=2))
    vendor.former_types.clear()
    destination.deliver(batch_of(track(price=18.99), first=2))

    assert raised.value.after_s == NEW_COLUMN_WAIT_S
    assert [row["price"] for row in vendor.rows["order_completed"]] == [19, 18.99]


def test_table_that_was_there_needs_no_column_for_the_time_of_loading(
    destination: BigQuery, vendor: BigQueryServer
) -> None:
    place = {"projectId": "project-1", "datasetId": "sluicegate", "tableId": "order_completed"}
    table = {"tableReference": place, "schema": {"fields": [{"name": "id", "type": "STRING"}]}}
    vendor.serve(
        "POST",
        "/bigquery/v2/projects/project-1/datasets/sluicegate/tables",
        msgspec.json.encode(table),
        {"Authorization": "Bearer token"},
    )

    destination.deliver(batch_of(track(a=1)))

    (row,) = vendor.rows["order_completed"]
    assert "loaded_at" not in row


def test_quota_means_retry(destination: BigQuery, vendor: BigQueryServer) -> None:
    vendor.answer = "quota"

    with pytest.raises(Retry, match="Exceeded rate limits"):
        destination.deliver(batch_of(track(a=1)))


def test_key_that_is_not_accepted_pauses(vendor: BigQueryServer, tmp_path: Path) -> None:
    vendor.answer = "unauthorized"

    with pytest.raises(CredentialsRefused, match="Invalid JWT Signature"):
        make(vendor, tmp_path).initialize()


def test_key_that_is_broken_pauses(vendor: BigQueryServer, tmp_path: Path) -> None:
    broken = '{"type": "service_account", "client_email": "x", "token_uri": "https://x", "private_key": "none"}'

    with pytest.raises(CredentialsRefused, match="the key cannot be read"):
        make(vendor, tmp_path, credentials=broken).initialize()


def test_service_that_is_not_there_is_tried_again(vendor: BigQueryServer, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="refused"):
        make(vendor, tmp_path, endpoint="http://127.0.0.1:9").initialize()


def test_private_address_is_refused_unless_allowed(vendor: BigQueryServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"project": "project-1", "endpoint": vendor.url, "credentials": vendor.key}
    destination = make_destination(BigQuery, tmp_path, network=Network(), **settings)

    with pytest.raises(CredentialsRefused, match=r"\[network\] allow"):
        destination.initialize()


def test_many_tables_of_a_slow_service_are_made_and_filled_in_several_calls(
    vendor: BigQueryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = vendor.serve

    def slowly(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        time.sleep(0.02)
        return serve(method, path, body, headers)

    monkeypatch.setattr(vendor, "serve", slowly)
    destination = make(vendor, tmp_path, timeout_s=0.4)
    destination.initialize()
    batch, n_calls, longest_s = batch_of(*(track(f"Event {n}", a=1) for n in range(40))), 0, 0.0

    while len(batch):
        n_calls += 1
        began_s = time.monotonic()
        try:
            outcome = destination.deliver(batch)
        except Retry as error:
            assert "not ready yet" in str(error)
        else:
            assert outcome is None or (outcome.again and not outcome.rejected)
            again = sorted(outcome.again) if outcome else []
            raws, ids = [batch.raws[index] for index in again], [batch.message_ids[index] for index in again]
            batch = make_batch(ids, raws=raws)
        longest_s = max(longest_s, time.monotonic() - began_s)

    assert n_calls > 2
    assert longest_s < 2
    assert sorted(row["id"] for row in vendor.rows["tracks"]) == sorted(f"m-{n}" for n in range(1, 41))
    assert all(len(vendor.rows[f"event_{n}"]) == 1 for n in range(40))
    destination.destroy()

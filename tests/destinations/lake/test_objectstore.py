from __future__ import annotations

import gzip
import io
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
import zstandard

from sluicegate.destinations.base import Destination
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Plans
from sluicegate.errors import CredentialsRefused, NotInstalled, NotReady, Rejected, Retry
from sluicegate.network import Network
from sluicegate.testing.destination_contract import (
    DestinationContract,
    VendorAnswer,
    make_batch,
    make_destination,
    make_event,
)
from tests.doubles.raw_server import RawServer
from tests.faults.proxy import Fault, Proxy

pytest.importorskip("obstore", reason="obstore is not installed; pip install sluicegate[peers]")
from sluicegate.destinations.objectstore import ObjectStore

if TYPE_CHECKING:
    from tests.doubles.s3_server import S3Server

LOGIN: dict[str, Any] = {
    "access_key_id": "key-of-tests",
    "secret_access_key": "secret-of-tests",
    "region": "eu-central-1",
}


def lines_of(content: bytes) -> list[str]:
    return [msgspec.json.decode(line)["messageId"] for line in gzip.decompress(content).splitlines()]


def rows_of(content: bytes) -> list[dict[str, Any]]:
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


def ids_of(content: bytes) -> list[str]:
    return [row["id"] for row in rows_of(content)]


def on_s3(s3: S3Server, tmp_path: Path, **settings: Any) -> Destination:
    given = {"url": "s3://events/pre", "endpoint": s3.url, **LOGIN} | settings
    return make_destination(ObjectStore, tmp_path, **given)


def in_folder(tmp_path: Path, **settings: Any) -> Destination:
    return make_destination(ObjectStore, tmp_path, url=f"file://{tmp_path}/lake", **settings)


def files(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "lake"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.*"))}


class Folder(DestinationContract):
    settings: ClassVar[dict[str, Any]]
    read: Callable[[bytes], list[str]]

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.root = tmp_path

    def make(self, tmp_path: Path) -> Destination:
        return in_folder(tmp_path, **self.settings)

    def received(self) -> Sequence[str]:
        return [id_ for content in files(self.root).values() for id_ in type(self).read(content)]

    def script(self, answer: VendorAnswer) -> None:
        if answer != "busy":
            pytest.skip("a folder knows no logins and refuses no event")
        folder = self.root / "lake"
        folder.rmdir()
        folder.write_text("in the way")


class TestFolderOfJsonLines(Folder):
    settings: ClassVar[dict[str, Any]] = {}
    read = staticmethod(lines_of)


class TestFolderOfParquet(Folder):
    settings: ClassVar[dict[str, Any]] = {"format": "parquet"}
    read = staticmethod(ids_of)


class OnS3(DestinationContract):
    settings: ClassVar[dict[str, Any]]
    read: Callable[[bytes], list[str]]

    @pytest.fixture(autouse=True)
    def peer(self, s3: S3Server) -> Iterator[None]:
        self.server = s3
        self.between = Proxy(int(s3.url.rpartition(":")[2]))
        yield
        self.between.close()

    def make(self, tmp_path: Path) -> Destination:
        return on_s3(self.server, tmp_path, endpoint=f"http://127.0.0.1:{self.between.port}", **self.settings)

    def received(self) -> Sequence[str]:
        return [id_ for content in self.server.objects("events").values() for id_ in type(self).read(content)]

    def script(self, answer: VendorAnswer) -> None:
        if answer == "rejected":
            pytest.skip("a store refuses no event but by its size, which has a test of its own")
        if answer == "busy":
            self.between.fault = Fault(reset_after_bytes=1)
            self.between.cut()
        else:
            self.server.refuse()


class TestS3OfJsonLines(OnS3):
    settings: ClassVar[dict[str, Any]] = {}
    read = staticmethod(lines_of)


class TestS3OfParquet(OnS3):
    settings: ClassVar[dict[str, Any]] = {"format": "parquet"}
    read = staticmethod(ids_of)


def replies(status: str, code: str = "", headers: str = "") -> RawServer:
    """A store that answers every request like this."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode() if code else b""
    head = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: application/xml\r\n{headers}\r\n".encode()
    )

    def script(connection: socket.socket, number: int) -> None:
        while server.read_request(connection):
            connection.sendall(head + body)

    server = RawServer(script)
    return server


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("503 Slow Down", "SlowDown", Retry),
        ("500 Internal Server Error", "InternalError", Retry),
        ("403 Forbidden", "AccessDenied", CredentialsRefused),
        ("400 Bad Request", "EntityTooLarge", Rejected),
        ("400 Bad Request", "InvalidStorageClass", CredentialsRefused),
    ],
)
def test_errors_of_a_store_are_told_apart(status: str, code: str, kind: type[Exception], tmp_path: Path) -> None:
    server = replies(status, code)
    destination = make_destination(ObjectStore, tmp_path, url="s3://events", endpoint=server.url, **LOGIN)

    with pytest.raises(kind, match=code) as raised:
        destination.deliver(make_batch(["m-1"]))
    server.close()

    assert len(server.requests) == 1
    assert "secret-of-tests" not in str(raised.value)


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    inside = replies("200 OK")
    server = replies("307 Temporary Redirect", "TemporaryRedirect", f"Location: {inside.url}events/x\r\n")
    destination = make_destination(ObjectStore, tmp_path, url="s3://events", endpoint=server.url, **LOGIN)

    with pytest.raises((CredentialsRefused, Retry)):
        destination.deliver(make_batch(["m-1"]))
    server.close()
    inside.close()

    assert len(server.requests) == 1
    assert inside.requests == []


def test_store_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    def silent(connection: socket.socket, number: int) -> None:
        while connection.recv(65536):
            pass

    server = RawServer(silent)
    destination = make_destination(ObjectStore, tmp_path, url="s3://events", endpoint=server.url, timeout_s=1, **LOGIN)

    with pytest.raises(Retry) as raised:
        destination.deliver(make_batch(["m-1"]))
    server.close()

    assert raised.value.outcome_unknown


def test_store_that_is_away_is_tried_again(tmp_path: Path) -> None:
    destination = make_destination(ObjectStore, tmp_path, url="s3://events", endpoint="http://127.0.0.1:1", **LOGIN)

    with pytest.raises(Retry) as raised:
        destination.deliver(make_batch(["m-1"]))

    assert not raised.value.outcome_unknown


def test_same_batch_overwrites_its_object_and_another_does_not(s3: S3Server, tmp_path: Path) -> None:
    batch = make_batch(["m-1", "m-2"])

    for attempt in (1, 2):
        batch.attempt = attempt
        on_s3(s3, tmp_path).deliver(batch)
    once = s3.objects("events")
    on_s3(s3, tmp_path).deliver(make_batch(["m-3"], first_offset=3))
    twice = s3.objects("events")

    assert [lines_of(content) for content in once.values()] == [["m-1", "m-2"]]
    assert len(twice) == 2


@pytest.mark.parametrize(
    ("settings", "kind", "read"),
    [
        ({}, "application/gzip", gzip.decompress),
        ({"compression": "zstd"}, "application/zstd", lambda data: zstandard.ZstdDecompressor().decompress(data)),
        ({"compression": "none"}, "application/x-ndjson", bytes),
        ({"content_type": "application/json"}, "application/json", gzip.decompress),
    ],
)
def test_lines_are_the_events_as_they_were_received(
    settings: dict[str, Any], kind: str, read: Callable[[bytes], bytes], s3: S3Server, tmp_path: Path
) -> None:
    raws = [make_event("m-1", text="ünïcödé"), b'{"messageId":"m-2","n":1.10}']

    on_s3(s3, tmp_path, **settings).deliver(make_batch(["m-1", "m-2"], raws=raws))
    ((name, content),) = s3.objects("events").items()

    assert read(content) == raws[0] + b"\n" + raws[1] + b"\n"
    assert s3.attributes("events", name)["Content-Type"] == kind


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "none"])
def test_rows_come_back_as_they_went_in(codec: str, tmp_path: Path) -> None:
    raw = (
        b'{"receivedAt":"2026-01-14T10:20:31.500Z","type":"track","event":"Order Completed","messageId":"m-1",'
        b'"userId":"u","anonymousId":"a","timestamp":"2026-01-14T11:20:30.456+01:00","context":{"ip":"203.0.113.9"},'
        b'"properties":{"total": 27.50},"integrations":{"All":true}}'
    )
    destination = in_folder(tmp_path, format="parquet", compression=codec)

    assert destination.deliver(make_batch(["m-1", "m-2"], raws=[raw, b'{"type":"page","name":"Home"}'])) is None
    (content,) = files(tmp_path).values()
    first, second = rows_of(content)

    assert {name: value for name, value in first.items() if value is not None} == {
        "id": "m-1",
        "type": "track",
        "event": "Order Completed",
        "user_id": "u",
        "anonymous_id": "a",
        "timestamp": datetime(2026, 1, 14, 10, 20, 30, 456_000, tzinfo=UTC),
        "received_at": datetime(2026, 1, 14, 10, 20, 31, 500_000, tzinfo=UTC),
        "context": '{"ip":"203.0.113.9"}',
        "properties": '{"total": 27.50}',
        "other": '{"integrations":{"All":true}}',
    }
    assert (second["id"], second["type"], second["name"]) == ("m-2", "page", "Home")


def test_every_file_has_the_same_schema(tmp_path: Path) -> None:
    import pyarrow.parquet

    destination = in_folder(tmp_path, format="parquet")

    destination.deliver(make_batch(["m-1"], raws=[b"{}"]))
    destination.deliver(make_batch(["m-2"], first_offset=2))
    schemas = [pyarrow.parquet.read_schema(path) for path in (tmp_path / "lake").rglob("*.parquet")]

    assert len(schemas) == 2
    assert schemas[0].equals(schemas[1])
    assert str(schemas[0].field("timestamp").type) == "timestamp[ms, tz=UTC]"


def test_event_that_cannot_be_a_row_is_rejected_alone(tmp_path: Path) -> None:
    destination = in_folder(tmp_path, format="parquet")

    some = destination.deliver(make_batch(["m-1", "m-2"], raws=[b"[]", make_event("m-2")]))
    none = destination.deliver(make_batch(["m-3"], first_offset=3, raws=[b"[]"]))

    assert isinstance(some, Outcome) and list(some.rejected) == [0]
    assert isinstance(none, Outcome) and list(none.rejected) == [0]
    assert [ids_of(content) for content in files(tmp_path).values()] == [["m-2"]]


def test_bucket_that_is_not_there_pauses_and_test_finds_it(s3: S3Server, tmp_path: Path) -> None:
    destination = on_s3(s3, tmp_path, url="s3://nothere")

    destination.initialize()
    with pytest.raises(CredentialsRefused, match="NoSuchBucket"):
        destination.test()
    with pytest.raises(CredentialsRefused, match="NoSuchBucket"):
        destination.deliver(make_batch(["m-1"]))


def test_private_stores_need_to_be_allowed(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(CredentialsRefused, match=r"127\.0\.0\.1"):
        on_s3(s3, tmp_path, network=Network()).initialize()


def test_endpoint_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://169.254.169.254")

    with pytest.raises(CredentialsRefused, match="metadata"):
        make_destination(ObjectStore, tmp_path, url="s3://events", **LOGIN).initialize()


@pytest.mark.parametrize("url", ["s3://events", "gs://events", "az://events"])
def test_credentials_of_the_machine_are_taken_only_where_that_is_allowed(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    account: dict[str, Any] = {"account": "sluicegate"} if url.startswith("az") else {}

    with pytest.raises(CredentialsRefused, match=r'allow = \["169\.254\.169\.254"\]'):
        make_destination(ObjectStore, tmp_path, url=url, **account).initialize()


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "gs://events/pre"},
        {"url": "az://events/pre", "account": "sluicegate", "account_key": "QUJD"},
        {"url": "az://events/pre", "account": "sluicegate", "sas_token": "sv=2024&sig=x"},
    ],
)
def test_other_clouds_put_to_where_they_are_told(settings: dict[str, Any], tmp_path: Path) -> None:
    key = '{"client_email":"a@b","private_key":"","private_key_id":"","disable_oauth":true,"gcs_base_url":"%s"}'
    server = replies("201 Created", headers="ETag: x\r\nx-goog-generation: 1\r\n")
    endpoint = server.url.rstrip("/")
    own: dict[str, Any] = {"service_account": key % endpoint} if settings["url"].startswith("gs") else {}
    destination = make_destination(ObjectStore, tmp_path, endpoint=endpoint, storage_class="Cool", **settings, **own)

    assert destination.deliver(make_batch(["m-1"])) is None
    server.close()

    (request,) = server.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /")
    assert b"/events/pre/under-test/date=2026-01-05/hour=12/" in unquote_to_bytes(head)
    assert b"Cool" in head
    assert lines_of(sent) == ["m-1"]


def test_folder_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("in the way")

    with pytest.raises(NotReady):
        in_folder(tmp_path).initialize()


def test_preview_shows_the_object(tmp_path: Path) -> None:
    destination = in_folder(tmp_path, format="parquet")
    assert isinstance(destination, Plans)

    (request,) = destination.preview(make_batch(["m-1"]), 0).requests
    shown = msgspec.json.decode(request.body)

    assert shown["object"].startswith(f"file://{tmp_path}/lake/under-test/date=2026-01-05/hour=12/")
    assert shown["rows"][0]["event"] == "Order Completed"


def test_missing_pyarrow_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(NotInstalled, match=r"pip install 'sluicegate\[parquet\]'"):
        in_folder(tmp_path, format="parquet")

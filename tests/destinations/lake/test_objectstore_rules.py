from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.settings import settings_for
from sluicegate.destinations.base import Batch
from sluicegate.destinations.objectstore_columns import COLUMNS, OBJECTS, TEXTS, TIMES, columns_of
from sluicegate.destinations.objectstore_errors import outcome_of
from sluicegate.destinations.objectstore_login import credentials_host, hosts_of
from sluicegate.destinations.objectstore_naming import Naming, read_time
from sluicegate.destinations.objectstore_settings import Kind, ObjectStoreSettings, place_of
from sluicegate.errors import ConfigError, CredentialsRefused, Rejected, Retry
from sluicegate.testing.destination_contract import make_batch

S3_LOGIN = {"access_key_id": "key", "secret_access_key": "secret-key"}


def settings(**given: Any) -> ObjectStoreSettings:
    found = settings_for("objectstore", {"url": "s3://bucket/events"} | given, ObjectStoreSettings)
    assert isinstance(found, ObjectStoreSettings)
    return found


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"url": "https://bucket.s3.amazonaws.com"}, "not an object store"),
        ({"url": "s3:///events"}, "is no bucket"),
        ({"url": "s3://key:secret@bucket"}, "more than a bucket and a prefix"),
        ({"url": "s3://bucket?region=x"}, "more than a bucket and a prefix"),
        ({"url": "s3://bucket/../other"}, "cannot be a part of it"),
        ({"url": "file://server/share"}, "not a folder"),
        ({"url": "file:///a/../../etc"}, "not a folder"),
        ({"format": "csv"}, 'none of the possible values (write "jsonl" | "parquet")'),
        ({"compression": "snappy"}, "jsonl does not have snappy"),
        ({"path": "{source}/{date}"}, "{source}, which is nothing"),
        ({"path": "/date={date}"}, "cannot be a part of it"),
        ({"path": "a/../b"}, "cannot be a part of it"),
        ({"path": "{{date}"}, "cannot be a part of it"),
        ({"endpoint": "minio:9000"}, "endpoint: not a web address"),
        ({"endpoint": "https://u:p@minio"}, "endpoint: not a web address"),
        ({"access_key_id": "key"}, "needs secret_access_key"),
        ({"session_token": "token"}, "belongs to an access_key_id"),
        ({"service_account": "{}"}, "is for gs:// and not for s3://"),
        ({"url": "gs://bucket", "region": "x"}, "is for s3:// and not for gs://"),
        ({"url": "az://container"}, "account: is missing"),
        ({"url": "az://container", "account": "a", "account_key": "QQ==", "sas_token": "sig=x"}, "one of them"),
        ({"url": "file:///data", "storage_class": "GLACIER"}, "and not for file://"),
    ],
)
def test_settings_say_what_is_wrong(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(**given)

    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("url", "kind", "bucket", "prefix"),
    [
        ("s3://bucket", Kind.S3, "bucket", ""),
        ("s3://bucket/a/b/", Kind.S3, "bucket", "a/b"),
        ("gs://bucket/a", Kind.GCS, "bucket", "a"),
        ("az://container/a", Kind.AZURE, "container", "a"),
        ("file:///srv/events", Kind.LOCAL, "", "/srv/events"),
    ],
)
def test_address_names_a_place(url: str, kind: Kind, bucket: str, prefix: str) -> None:
    place = place_of(url)

    assert (place.kind, place.bucket, place.prefix) == (kind, bucket, prefix)


def test_secrets_do_not_show() -> None:
    assert "secret-key" not in repr(settings(**S3_LOGIN))


def batch_at(received: str | None, *, first_offset: int = 7, **more: Any) -> Batch:
    raw = msgspec.json.encode(({"receivedAt": received} if received else {}) | more)
    return make_batch(["a", "b"], first_offset=first_offset, raws=[raw, b"{}"])


def test_name_has_partitions_offsets_and_a_digest() -> None:
    name = Naming(settings(), "lake").name(batch_at("2026-01-14T23:59:59.999Z"))

    folder, _, file = name.rpartition("/")
    assert folder == "lake/date=2026-01-14/hour=23"
    assert file.startswith("000000000007-000000000008-") and file.endswith(".jsonl.gz")


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({"compression": "zstd"}, ".jsonl.zst"),
        ({"compression": "none"}, ".jsonl"),
        ({"format": "parquet"}, ".parquet"),
        ({"format": "parquet", "compression": "gzip"}, ".parquet"),
    ],
)
def test_name_ends_with_what_the_object_is(given: dict[str, Any], end: str) -> None:
    name = Naming(settings(**given), "lake").name(batch_at(None))

    assert name.endswith(end)
    assert "." not in name.removesuffix(end)


@pytest.mark.parametrize(
    ("batch", "folder"),
    [
        (batch_at("2026-01-15T00:30:00+01:00"), "2026/01/14/23"),
        (batch_at(None, timestamp="2026-01-14T10:00:00Z"), "2026/01/14/10"),
        (batch_at("yesterday", timestamp="2026-01-14T10:00:00"), "2026/01/14/10"),
        (batch_at(None), "/".join(["__HIVE_DEFAULT_PARTITION__"] * 4)),
        (batch_at(None, timestamp=5), "/".join(["__HIVE_DEFAULT_PARTITION__"] * 4)),
    ],
)
def test_partition_is_when_the_first_event_was_received(batch: Batch, folder: str) -> None:
    assert Naming(settings(path="{year}/{month}/{day}/{hour}"), "lake").name(batch).rpartition("/")[0] == folder


def test_name_is_the_same_for_the_same_batch_and_of_no_other() -> None:
    naming = Naming(settings(), "lake")
    again = batch_at("2026-01-14T10:00:00Z")
    again.attempt = 5
    others = [batch_at("2026-01-14T10:00:00Z", first_offset=8), batch_at("2026-01-14T10:00:00Z", n=1), again[:1]]

    name = naming.name(batch_at("2026-01-14T10:00:00Z"))

    assert naming.name(again) == name
    assert name not in {naming.name(other) for other in others}
    assert Naming(settings(), "other").name(again) != name


def test_path_may_be_empty() -> None:
    assert "/" not in Naming(settings(path=""), "lake").name(batch_at(None))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*TEXTS.values(), *TIMES.values(), *OBJECTS.values(), "messageId", "integrations", "odd"])
texts_of_times = st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | st.just("0001-01-01")


@given(st.dictionaries(keys, json_values | texts_of_times, max_size=10))
def test_nothing_of_an_event_is_lost_in_its_row(event: dict[str, Any]) -> None:
    rejected: dict[int, str] = {}

    columns = columns_of([msgspec.json.encode(event)], ["m-1"], rejected)

    assert rejected == {}
    assert tuple(columns) == COLUMNS
    row = {name: values[0] for name, values in columns.items()}
    found = msgspec.json.decode(row["other"].encode()) if isinstance(row["other"], str) else {}
    for name, key in TEXTS.items():
        if row[name] is not None:
            found[key] = row[name]
    for name, key in TIMES.items():
        if isinstance(time := row[name], str):
            found[key] = datetime.fromisoformat(time)
    for name, key in OBJECTS.items():
        if isinstance(text := row[name], str):
            found[key] = msgspec.json.decode(text.encode())
    for key, value in event.items():
        if value is None and key not in found:
            continue
        if key == "messageId" and value == "m-1":
            continue
        got = found[key]
        if isinstance(got, datetime):
            wanted = read_time(value)
            assert wanted is not None
            assert got == wanted.replace(microsecond=wanted.microsecond // 1_000 * 1_000)
        elif key in TEXTS.values() and not isinstance(value, str):
            assert msgspec.json.decode(got.encode()) == value
        else:
            assert got == value


def test_texts_and_numbers_are_kept_as_they_were_written() -> None:
    raw = b'{"type":"track","userId":17,"properties":{"price": 1.10,"big":12345678901234567890123},"timestamp":"soon"}'

    columns = columns_of([raw], ["m-1"], {})

    assert columns["user_id"] == ["17"]
    assert columns["properties"] == ['{"price": 1.10,"big":12345678901234567890123}']
    assert columns["timestamp"] == [None]
    assert columns["other"] == ['{"timestamp":"soon"}']


def test_event_that_is_no_object_is_rejected_alone() -> None:
    rejected: dict[int, str] = {}

    columns = columns_of([b"{}", b"[1]", b"{}"], ["a", "b", "c"], rejected)

    assert columns["id"] == ["a", "c"]
    assert list(rejected) == [1]


def answered(status: int, code: str = "") -> Exception:
    xml = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>' if code else ""
    url = "https://host/b/k?sig=secret"
    text = f"Error performing PUT {url} in 1ms - Server returned non-2xx status code: {status} X: {xml}"
    return RuntimeError(f"Generic S3 error: {text}\n\nDebug source:\nGeneric {{ status code: 200 }}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(503, "SlowDown"), Retry),
        (answered(500, "InternalError"), Retry),
        (answered(429), Retry),
        (answered(408), Retry),
        (answered(409, "OperationAborted"), Retry),
        (answered(403, "RequestTimeTooSkewed"), Retry),
        (answered(400, "RequestTimeout"), Retry),
        (answered(403, "AccessDenied"), CredentialsRefused),
        (answered(401), CredentialsRefused),
        (answered(404, "NoSuchBucket"), CredentialsRefused),
        (answered(301, "PermanentRedirect"), CredentialsRefused),
        (answered(400, "InvalidStorageClass"), CredentialsRefused),
        (answered(400, "EntityTooLarge"), Rejected),
        (answered(413), Rejected),
        (OSError("Connection reset"), Retry),
    ],
)
def test_answers_mean_what_stores_say_they_mean(error: Exception, kind: type[Exception]) -> None:
    outcome = outcome_of(error)

    assert type(outcome) is kind
    assert "secret" not in str(outcome)
    assert "Debug source" not in str(outcome)


def test_slow_down_is_no_sign_of_an_outage() -> None:
    outcome = outcome_of(answered(503, "SlowDown"))

    assert outcome.status == 429
    assert "SlowDown" in str(outcome)


@pytest.mark.parametrize(
    ("given", "environ", "host"),
    [
        (S3_LOGIN, {}, None),
        ({}, {"AWS_ACCESS_KEY_ID": "key"}, None),
        ({}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}, None),
        ({}, {}, "169.254.169.254"),
        ({}, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}, "169.254.170.2"),
        ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1"}, "169.254.170.23"),
        ({"url": "gs://b"}, {}, "169.254.169.254"),
        ({"url": "gs://b", "service_account": "{}"}, {}, None),
        ({"url": "gs://b"}, {"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}, None),
        ({"url": "az://c", "account": "a"}, {}, "169.254.169.254"),
        ({"url": "az://c", "account": "a", "sas_token": "sig"}, {}, None),
        ({"url": "az://c", "account": "a"}, {"AZURE_CLIENT_SECRET": "x"}, None),
        ({"url": "file:///data"}, {}, None),
    ],
)
def test_credentials_are_asked_of_the_machine_only_when_there_are_no_others(
    given: dict[str, Any], environ: dict[str, str], host: str | None, tmp_path: Path
) -> None:
    found = settings(**given)

    assert credentials_host(place_of(found.url).kind, found, environ, tmp_path) == host


@pytest.mark.parametrize(
    ("given", "environ", "hosts"),
    [
        ({}, {}, [("s3.us-east-1.amazonaws.com", 443)]),
        ({"region": "eu-north-1"}, {"AWS_REGION": "x"}, [("s3.eu-north-1.amazonaws.com", 443)]),
        ({}, {"AWS_REGION": "eu-west-1"}, [("s3.eu-west-1.amazonaws.com", 443)]),
        ({}, {"AWS_ENDPOINT_URL": "https://10.0.0.1:9000"}, [("10.0.0.1", 9000)]),
        ({"endpoint": "http://minio:9000"}, {"AWS_ENDPOINT_URL_S3": "https://x"}, [("minio", 9000)]),
        ({"url": "gs://b"}, {}, [("storage.googleapis.com", 443)]),
        ({"url": "gs://b", "service_account": '{"gcs_base_url": "http://10.0.0.1"}'}, {}, [("10.0.0.1", 80)]),
        ({"url": "az://c", "account": "acc"}, {}, [("acc.blob.core.windows.net", 443)]),
        ({"url": "file:///data"}, {}, []),
    ],
)
def test_hosts_are_those_that_the_library_will_connect_to(
    given: dict[str, Any], environ: dict[str, str], hosts: list[tuple[str, int]]
) -> None:
    found = settings(**given)

    assert hosts_of(place_of(found.url).kind, found, environ) == hosts

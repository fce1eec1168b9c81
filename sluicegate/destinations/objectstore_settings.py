"""Settings of the destination type `objectstore`; imports nothing of its libraries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Literal
from urllib.parse import unquote, urlsplit

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret
from sluicegate.destinations.settings import check_url

Format = Literal["jsonl", "parquet"]
Compression = Literal["gzip", "zstd", "snappy", "none"]

PATH_FIELDS = ("destination", "date", "hour", "year", "month", "day")
_FIELD = re.compile(r"\{(\w*)\}")
_SEGMENT = re.compile(r"[\w!.*'()=,:@+~ -]+", re.ASCII)
"""What needs no escaping anywhere (S3 user guide, "Naming objects"), and spaces."""
_COMPRESSIONS = {"jsonl": ("gzip", "zstd", "none"), "parquet": ("zstd", "snappy", "gzip", "none")}
_BUCKET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,220}[A-Za-z0-9])?")


class Kind(Enum):
    """The kind of store, by the scheme of its address."""

    S3 = "s3"
    GCS = "gs"
    AZURE = "az"
    LOCAL = "file"


_OWN_KEYS = {
    "region": (Kind.S3,),
    "access_key_id": (Kind.S3,),
    "secret_access_key": (Kind.S3,),
    "session_token": (Kind.S3,),
    "kms_key": (Kind.S3,),
    "virtual_hosted": (Kind.S3,),
    "service_account": (Kind.GCS,),
    "account": (Kind.AZURE,),
    "account_key": (Kind.AZURE,),
    "sas_token": (Kind.AZURE,),
    "endpoint": (Kind.S3, Kind.GCS, Kind.AZURE),
    "storage_class": (Kind.S3, Kind.GCS, Kind.AZURE),
    "content_type": (Kind.S3, Kind.GCS, Kind.AZURE),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects go: a bucket or container and a prefix in it, or a folder (with an empty bucket)."""

    kind: Kind
    bucket: str
    prefix: str


class ObjectStoreSettings(Settings, kw_only=True):
    """`url` is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER; objects go to `path`.

    Credentials are `access_key_id` and `secret_access_key` (S3), `service_account` as JSON (Google), `account` with
    `account_key` or `sas_token` (Azure), or those of the environment. `endpoint` is for stores that speak S3.
    """

    url: str
    format: Format = "jsonl"
    compression: Compression | None = None
    path: str = "{destination}/date={date}/hour={hour}"
    region: str | None = None
    endpoint: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    virtual_hosted: bool | None = None
    kms_key: str | None = None
    service_account: Secret | None = None
    account: str | None = None
    account_key: Secret | None = None
    sas_token: Secret | None = None
    storage_class: str | None = None
    content_type: str | None = None

    limits: ClassVar[Limits] = Limits(max_events=50_000, max_bytes=16 * 1024 * 1024, age_s=30.0)

    def __post_init__(self) -> None:
        place = place_of(self.url)
        self._check_keys(place.kind)
        if self.compression is not None and self.compression not in _COMPRESSIONS[self.format]:
            known = ", ".join(_COMPRESSIONS[self.format])
            raise ValueError(f"compression: {self.format} does not have {self.compression}; write one of {known}")
        check_path(self.path)
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)

    def _check_keys(self, kind: Kind) -> None:
        for key, kinds in _OWN_KEYS.items():
            if getattr(self, key) is not None and kind not in kinds:
                schemes = " or ".join(f"{one.value}://" for one in kinds)
                raise ValueError(f"{key}: is for {schemes} and not for {kind.value}://; remove it")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id: needs secret_access_key, which needs access_key_id; write both or none")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token: belongs to an access_key_id; write that too")
        if kind is Kind.AZURE and self.account is None:
            raise ValueError("account: is missing; write the name of the storage account")
        if self.account_key is not None and self.sas_token is not None:
            raise ValueError("sas_token: is another way in than account_key; write one of them")

    @property
    def codec(self) -> Compression:
        """The compression in force."""
        return self.compression or ("gzip" if self.format == "jsonl" else "zstd")


def place_of(url: str) -> Place:
    """The place that an address names; raises `ValueError`."""
    try:
        parts = urlsplit(url)
        kind = Kind(parts.scheme)
    except ValueError:
        raise ValueError(
            "url: not an object store; write s3://, gs:// or az://BUCKET/PREFIX, or file:///FOLDER"
        ) from None
    if parts.query or parts.fragment or "@" in parts.netloc or ":" in parts.netloc:
        raise ValueError("url: has more than a bucket and a prefix; write credentials and options as settings")
    prefix = unquote(parts.path).strip("/")
    if kind is Kind.LOCAL:
        if parts.netloc or not prefix or ".." in prefix.split("/"):
            raise ValueError("url: not a folder; write file:///FOLDER with its absolute path")
        return Place(kind, "", f"/{prefix}")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError(f"url: {parts.netloc[:80]!r} is no bucket; write letters, digits, - and .")
    if prefix:
        _check_segments("url", prefix)
    return Place(kind, parts.netloc, prefix)


def _check_endpoint(endpoint: str) -> None:
    try:
        check_url(endpoint)
    except ValueError:
        raise ValueError("endpoint: not a web address; write https://HOST, without user name and password") from None


def check_path(path: str) -> None:
    """Raise `ValueError` unless this can be the path of objects, with its fields."""
    for name in _FIELD.findall(path):
        if name not in PATH_FIELDS:
            raise ValueError(f"path: has {{{name}}}, which is nothing; there are {', '.join(PATH_FIELDS)}")
    if path:
        _check_segments("path", _FIELD.sub("x", path))


def _check_segments(key: str, path: str) -> None:
    for segment in path.split("/"):
        if segment in (".", "..") or not _SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{key}: {segment[:80]!r} cannot be a part of it; write letters, digits, - _ . = and so on"
            )

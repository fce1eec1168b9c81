"""A store of obstore's, behind a guard of addresses; a folder of this machine is put onto the disk as well."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from sluicegate.destinations.base import Context
from sluicegate.destinations.foreign import AddressGuard
from sluicegate.destinations.objectstore_errors import code_of, outcome_of
from sluicegate.destinations.objectstore_login import credentials_host, hosts_of, is_proxied, options_of
from sluicegate.destinations.objectstore_settings import Kind, ObjectStoreSettings, place_of
from sluicegate.destinations.tunnel import Tunnel
from sluicegate.errors import CredentialsRefused, DestinationError, Retry
from sluicegate.network import AddressRefused
from sluicegate.sqlite import fsync

CONNECT_TIMEOUT_S = 5
_SOONER = 0.9
"""The tunnel gives up before the library does, so that its reason is there in time."""
_HTTP = 80
_PROBE = "sluicegate-looks-whether-this-is-there"
_BAD_LOGIN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
_ABSENT = frozenset({"NoSuchBucket", "ContainerNotFound"})
_FAILURES = (BaseError, OSError, NotImplementedError, ValueError)
"""What obstore raises: its own errors, and those that are built in where it has no own."""


class Store:
    """Puts objects; for any number of threads."""

    def __init__(self, settings: ObjectStoreSettings, context: Context) -> None:
        """Make the client, which connects to nothing yet; raises `CredentialsRefused` or `Retry`."""
        self._place = place_of(settings.url)
        self._settings = settings
        self._guard = AddressGuard(context.network)
        self._check_login()
        self._connect_timeout_s = min(CONNECT_TIMEOUT_S, context.timeout_s)
        self._tunnel: Tunnel | None = None
        if self._place.kind is not Kind.LOCAL and not is_proxied(os.environ):
            self._tunnel = Tunnel(context.network, connect_timeout_s=self._connect_timeout_s * _SOONER)
        try:
            self._store = self._made(context.timeout_s)
        except _FAILURES as error:
            self.close()
            text = str(outcome_of(error, sent_body=False))
            if self._place.kind is Kind.LOCAL:
                raise Retry(f"{self._place.prefix} cannot be made: {text}") from error
            raise CredentialsRefused(f"the store cannot be used as configured: {text}") from error
        self._hosts = hosts_of(self._place.kind, settings, os.environ)

    def put(self, name: str, content: bytes, *, content_type: str) -> None:
        """Put an object, over one of that name if there is one; raises `Retry`, `CredentialsRefused` or `Rejected`."""
        self.check()
        attributes = {"Content-Type": self._settings.content_type or content_type}
        if self._settings.storage_class is not None:
            attributes["Storage-Class"] = self._settings.storage_class
        is_local = self._place.kind is Kind.LOCAL
        try:
            obstore.put(
                self._store, name, content, use_multipart=False, attributes=None if is_local else dict(attributes)
            )
            if is_local:
                _sync(Path(self._place.prefix), name)
        except _FAILURES as error:
            raise self._outcome_of(error) from error

    def close(self) -> None:
        """Connect to nothing any more."""
        if self._tunnel is not None:
            self._tunnel.close()

    def check(self) -> None:
        """Check the addresses of the store; raises `Retry` or `CredentialsRefused`."""
        for host, port in self._hosts:
            self._guard.check(host, port)

    def look(self) -> None:
        """Ask for an object that is not there, which says whether bucket and login are right, and no more.

        Who may only write is refused the look as well, and gets by.
        """
        self.check()
        try:
            obstore.get(self._store, _PROBE)
        except _FAILURES as error:
            status, code = code_of(error)
            absent = isinstance(error, FileNotFoundError) and code not in _ABSENT
            write_only = status == 403 and code not in _BAD_LOGIN
            if not (absent or write_only):
                raise self._outcome_of(error, sent_body=False) from error

    def _outcome_of(self, error: BaseException, *, sent_body: bool = True) -> DestinationError:
        """The outcome to raise: by what kept the tunnel from connecting, where there was no answer."""
        failure = self._tunnel.take_failure() if self._tunnel is not None else None
        if failure is None or code_of(error)[0] is not None:
            return outcome_of(error, sent_body=sent_body)
        if isinstance(failure, AddressRefused):
            return CredentialsRefused(str(failure))
        return Retry(f"the store cannot be reached: {failure.strerror or failure}")

    def _check_login(self) -> None:
        host = credentials_host(self._place.kind, self._settings, os.environ, Path.home())
        if host is None:
            return
        try:
            self._guard.check(host, _HTTP)
        except CredentialsRefused as error:
            raise CredentialsRefused(
                f"no credentials: write them as settings or variables of the environment; for those of this machine "
                f'write [network] and below it allow = ["{host}"]'
            ) from error

    def _made(self, timeout_s: float) -> S3Store | GCSStore | AzureStore | LocalStore:
        place, settings = self._place, self._settings
        if place.kind is Kind.LOCAL:
            return LocalStore(place.prefix, mkdir=True)
        options: dict[str, Any] = options_of(place.kind, settings)
        proxy = {} if self._tunnel is None else {"proxy_url": self._tunnel.url}
        common: dict[str, Any] = {
            "prefix": place.prefix or None,
            "client_options": {
                "timeout": timedelta(seconds=timeout_s),
                "connect_timeout": timedelta(seconds=self._connect_timeout_s),
                "allow_http": (settings.endpoint or "").startswith("http://"),
                "user_agent": "sluicegate",
                **proxy,
            },
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
        }
        if place.kind is Kind.S3:
            return S3Store(place.bucket, **common, **options)
        if place.kind is Kind.GCS:
            return GCSStore(place.bucket, **common, **options)
        return AzureStore(place.bucket, **common, **options)


def _sync(root: Path, name: str) -> None:
    """Bring a file, and the folders that lead to it, onto the disk: obstore renames it into place and no more."""
    path = root / name
    for one in (path, *path.parents):
        fsync(one)
        if one == root:
            return

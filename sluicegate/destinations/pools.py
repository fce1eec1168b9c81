"""Pools of urllib3 that connect to allowed addresses only, for vendors' libraries that take a pool."""

from __future__ import annotations

import socket
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from sluicegate.network import AddressRefused, Network

_MANY_WRAPS = 10


def guarded_pool(network: Network, **options: Any) -> PoolManager:
    """A pool manager whose connections end, before anything is sent, where `network` does not allow."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self.host, network)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self.host, network)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    manager = PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    return manager


def refused_address(error: BaseException | None) -> AddressRefused | None:
    """The refusal of an address behind an error, which libraries wrap several times; None when it is another."""
    for _ in range(_MANY_WRAPS):
        if error is None or isinstance(error, AddressRefused):
            return error
        inner = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
        error = next((found for found in inner if isinstance(found, BaseException)), None)
    return None


def _checked(connected: socket.socket, host: str, network: Network) -> socket.socket:
    try:
        network.check(host, connected.getpeername()[0])
    except OSError:
        connected.close()
        raise
    return connected

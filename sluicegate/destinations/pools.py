"""Pools of urllib3 that connect to allowed addresses only and follow no redirects, for libraries that take a pool."""

from __future__ import annotations

import socket
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from sluicegate.network import AddressRefused, Network

_MANY_WRAPS = 10


class Redirected(OSError):
    """A server answered with a redirect, which is not followed: nothing was sent to where it points."""


def guarded_pool(network: Network, **options: Any) -> PoolManager:
    """A pool manager whose connections end, before anything is sent, where `network` does not allow.

    Every answer of 3xx is raised as `Redirected`, whatever a library asks for.
    """

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self.host, network)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self.host, network)

    class PlainPool(_StayingPool):
        ConnectionCls = Plain

    class EncryptedPool(_StayingPool, HTTPSConnectionPool):
        ConnectionCls = Encrypted

    manager = PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    return manager


class _StayingPool(HTTPConnectionPool):
    """Where every request of a manager and of requests goes through, and is answered before they look for redirects."""

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        redirect: bool = False,
        *args: Any,
        **options: Any,
    ) -> Any:
        """The answer, which is no redirect; raises `Redirected`, whatever `redirect` says."""
        response: Any = super().urlopen(method, url, body, headers, retries, False, *args, **options)
        if 300 <= response.status < 400:
            response.close()
            raise Redirected(
                f"moved: {self.host}:{self.port} answered {response.status}, which is not followed; "
                "write the final address"
            )
        return response


def refusal_behind(error: BaseException | None) -> AddressRefused | Redirected | None:
    """The refused address or redirect behind an error, which libraries wrap several times; None when it is another."""
    for _ in range(_MANY_WRAPS):
        if error is None or isinstance(error, AddressRefused | Redirected):
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

"""Guards the addresses of libraries that open their own sockets, as well as that can be done from outside.

The names are resolved by us before the library does, and refused if any of their addresses is. A name that changes its
answer in between gets by: that is the limit, and the reason why a client of ours checks the connected address instead,
and why a library that can be told a proxy is given a `Tunnel` in addition.
"""

from __future__ import annotations

import threading
import time

from sluicegate.destinations.resolving import resolve
from sluicegate.errors import CredentialsRefused, Retry
from sluicegate.network import AddressRefused, Network

RESOLVE_TIMEOUT_S = 5.0
CHECKED_FOR_S = 60.0
"""How long an address counts as checked; connections are kept alive for longer than that anyway."""


class AddressGuard:
    """Checks hosts that a library is about to connect to; for any number of threads."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lock = threading.Lock()
        self._checked: dict[tuple[str, int], float] = {}

    def check(self, host: str, port: int) -> None:
        """Raises `CredentialsRefused` when the host has an address that is not allowed, `Retry` when it has none."""
        with self._lock:
            if time.monotonic() < self._checked.get((host, port), 0.0):
                return
        try:
            resolve(host, port, network=self._network, timeout_s=RESOLVE_TIMEOUT_S, all_of_them=True)
        except AddressRefused as error:
            raise CredentialsRefused(str(error)) from error
        except OSError as error:
            raise Retry(f"{host}:{port} cannot be reached: {error.strerror or error}") from error
        with self._lock:
            self._checked[host, port] = time.monotonic() + CHECKED_FOR_S

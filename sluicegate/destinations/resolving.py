"""Names to addresses in bounded time: DNS may be slow, and may lie."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sluicegate.network import AddressRefused, Network, literal

Found = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to connect to, as `socket.connect` takes it."""

    family: socket.AddressFamily
    address: Any


class _Lookups:
    """The lookups that run: one per host and port, however many wait for it, so that a slow resolver holds one thread.

    Nothing is kept once it has ended: the next connection asks anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[Found]] = {}

    def find(self, host: str, port: int, *, timeout_s: float) -> Found:
        with self._lock:
            future = self._running.get((host, port))
            if future is None:
                future = self._running[host, port] = Future()
                try:
                    threading.Thread(target=self._look, args=(host, port, future), daemon=True).start()
                except RuntimeError as error:  # no more threads; others must not wait for one that never ran
                    del self._running[host, port]
                    raise OSError(f"the name cannot be looked up: {error}") from error
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():
                raise
            raise TimeoutError("the name was not resolved in time") from None

    def _look(self, host: str, port: int, future: Future[Found]) -> None:
        try:
            found = _ask(host, port)
        except BaseException as error:
            self._forget(host, port)
            future.set_exception(error)
        else:
            self._forget(host, port)
            future.set_result(found)

    def _forget(self, host: str, port: int) -> None:
        with self._lock:
            del self._running[host, port]


_lookups = _Lookups()


def resolve(host: str, port: int, *, network: Network, timeout_s: float, all_of_them: bool = False) -> list[Candidate]:
    """The addresses of a host that may be connected to, in the resolver's order, at least one; raises `OSError`.

    `AddressRefused` when it has only addresses that may not be, or with `all_of_them` any such, `TimeoutError` when the
    resolver takes too long.
    """
    needs_dns = literal(host) is None
    found = _lookups.find(host, port, timeout_s=timeout_s) if needs_dns else _ask(host, port)
    refused: AddressRefused | None = None
    candidates = []
    for family, _, _, _, address in found:
        try:
            network.check(host, address[0])
            candidates.append(Candidate(family, address))
        except AddressRefused as error:
            refused = refused or error
    if refused is not None and all_of_them:
        raise refused
    if not candidates:
        raise refused or OSError("the name has no address")
    return candidates


def _ask(host: str, port: int) -> Found:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"not a host name: {error}") from error

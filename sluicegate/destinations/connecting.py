"""Connecting to a host by the first of its allowed addresses that answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from sluicegate.destinations.resolving import resolve
from sluicegate.network import Network

Finish = Callable[[socket.socket], socket.socket]


def connect(
    host: str, port: int, *, network: Network, deadline: float, finish: Finish = lambda plain: plain
) -> socket.socket:
    """A connection whose own end was checked, after `finish`, which may do TLS; raises `OSError`."""
    failure = OSError("the name has no address")
    candidates = resolve(host, port, network=network, timeout_s=left(deadline))
    for n_tried, candidate in enumerate(candidates):
        try:
            plain = socket.socket(candidate.family, socket.SOCK_STREAM)
        except OSError as error:
            failure = error
            continue
        try:
            plain.settimeout(left(deadline) / (len(candidates) - n_tried))  # one that is silent leaves some to others
            plain.connect(candidate.address)
            network.check(host, plain.getpeername()[0])
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(left(deadline))
            return finish(plain)
        except OSError as error:
            plain.close()
            failure = error
    raise failure


def left(deadline: float) -> float:
    """Seconds until then, by the monotonic clock; raises `TimeoutError` when there are none."""
    found = deadline - time.monotonic()
    if found <= 0:
        raise TimeoutError("did not answer in time")
    return found

"""Addresses of actors: ports of this machine."""

from __future__ import annotations

from thespian.actors import ActorAddress
from thespian.system.transport.IPBase import TCPv4ActorAddress

LOOPBACK = "127.0.0.1"


def address_of(port: int) -> ActorAddress:
    """The address of the actor that listens on this port of this machine."""
    return ActorAddress(TCPv4ActorAddress(LOOPBACK, port, external=True))


def port_of(address: ActorAddress) -> int:
    """The port behind a usable address."""
    port: int = address.addressDetails.sockname[1]
    return port

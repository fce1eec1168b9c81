"""Thespian's TCP transport, hardened: loopback only, signed, bounded, in order, nothing inherited.

What each override replaces and why is told in docs/actor-base.md. `pinned.py` lists the replaced code with its hash.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from thespian.actors import ActorAddress
from thespian.system.timing import ExpirationTimer
from thespian.system.transport import ExternalInterfaceTransportInit, ReceiveEnvelope, TransmitIntent, TransmitOnly
from thespian.system.transport.IPBase import IPActorAddress
from thespian.system.transport.TCPTransport import ExternalTransportCopy, TCPEndpoint, TCPTransport

from sluicegate.actors import processes
from sluicegate.actors.addresses import LOOPBACK, address_of, port_of
from sluicegate.actors.loop import Loop
from sluicegate.actors.receiving import Receiver
from sluicegate.actors.sending import Sender
from sluicegate.actors.signing import Envelope

_BACKLOG = 100  # connections that wait for accept; with 1024 a flood of 1000 kept an actor busy for 5 s


class Endpoint(TCPEndpoint):
    """What a new process needs to know to join; made by its parent before the fork."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made_by = os.getpid()


class Transport(Sender, Receiver, Loop):
    """Base of the transport class of one actor system; `transport_class` binds it to a key and a log."""

    def __init__(self, init: object, *args: Any) -> None:
        super(TCPTransport, self).__init__()
        self.txOnly = False
        self._parentAddr = None
        port = 0
        if isinstance(init, Endpoint):
            processes.die_with_parent(init.made_by)
            processes.release_inherited_sockets()
            _, assigned, self._parentAddr, self._adminAddr = init.args[:4]
            port = port_of(assigned) if assigned else 0
        elif isinstance(init, ExternalInterfaceTransportInit):
            self._adminAddr = self.getAdminAddr(args[0])
        elif isinstance(init, ExternalTransportCopy):
            self._adminAddr = args[0]
        else:
            raise TypeError(f"a transport cannot start from {type(init).__name__}")
        self._listen(port)
        self._forget_everything()

    def _listen(self, port: int) -> None:
        """Open the one socket that takes messages; raises OSError when the port is taken."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setblocking(False)
        self.socket.bind((LOOPBACK, port))
        self.socket.listen(_BACKLOG)
        self.myAddress = address_of(self.socket.getsockname()[1])
        self._owner: int | None = os.getpid()

    def _forget_everything(self) -> None:
        """The state that Thespian's own `__init__` sets up, without `_openSockets`: none are kept for reuse."""
        self._transmitIntents: dict[int, Any] = {}
        self._waitingTransmits: list[Any] = []
        self._incomingSockets: dict[int, Any] = {}
        self._incomingEnvelopes: list[Any] = []
        self._finished_intents: list[Any] = []
        self._watches: list[int] = []
        self._checkChildren = False
        self._shutdownSignalled = False
        self._start_sending()

    def close(self) -> None:
        """Close every socket, in the process that opened them only: a shutdown would reach the parent's too."""
        if getattr(self, "_owner", None) != os.getpid():
            return
        self._owner = None
        for intent in [*self._transmitIntents.values(), *self._waitingTransmits]:
            if hasattr(intent, "socket"):
                intent.socket.close()
        for incoming in self._incomingSockets.values():
            incoming.close()
        self._forget_everything()
        self.socket.close()

    def external_transport_clone(self) -> Transport:
        """Another endpoint for the same process outside the system."""
        return type(self)(ExternalTransportCopy(), self._adminAddr)

    @staticmethod
    def getAdminAddr(capabilities: dict[str, Any]) -> ActorAddress:
        """The address of the admin process: the configured port of this machine."""
        return address_of(capabilities["Admin Port"])

    @staticmethod
    def getConventionAddress(capabilities: dict[str, Any]) -> None:
        """None: systems on several machines are not joined."""

    def prepEndpoint(self, assigned: ActorAddress, capabilities: dict[str, Any]) -> Endpoint:
        """What a new child process is to know; the admin's address is given, others are found by the kernel."""
        details = assigned.addressDetails
        if isinstance(details, IPActorAddress):
            return Endpoint(None, assigned, self.myAddress, self._adminAddr, False, False)
        return Endpoint(details.addressInstanceNum, None, self.myAddress, self._adminAddr, False, False)

    def childResetFileNumList(self) -> list[int]:
        """Nothing: the child releases all sockets itself, without freeing their numbers."""
        return []

    def run(self, handler: Any, maximum_duration: Any = None) -> Any:
        """Receive and send until the handler, the time, or an event ends it."""
        self._runner = threading.get_ident()
        if handler is TransmitOnly:
            # Thespian's own ends at the first wake-up, which it takes for "all is sent": the last words of an actor.
            self.run_time = ExpirationTimer(maximum_duration)
            return self._runWithExpiry(handler)
        return super().run(handler, maximum_duration)


def transport_class(key: bytes, log: logging.Handler | None) -> type[Transport]:
    """The transport class of one system: Thespian hands the class, not an object, to every new process."""
    return type("SystemTransport", (Transport,), {"envelope": Envelope(key), "log": log})


def cheap_names() -> None:
    """Make Thespian name messages in its log by their type: it does so for every message, logged or not.

    The stock way is `str(message)`: 11 to 20 ms for a megabyte, and personal data in a log.
    """
    TransmitIntent.identify = _name_transmission
    ReceiveEnvelope.identify = _name_arrival


def _name_transmission(intent: Any) -> str:
    return f"{type(intent.message).__name__} to {intent.targetAddr}"


def _name_arrival(envelope: Any) -> str:
    return f"{type(envelope.message).__name__} from {envelope.sender}"

"""A star of actors: a source sends to a hub, the hub to its children, the children back to the hub."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable
from dataclasses import dataclass

from thespian.actors import ActorAddress

from sluicegate.actors.base import SafeActor, handles


@dataclass(frozen=True, slots=True)
class Grow:
    """Hub: start so many children."""

    children: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Source: send so many messages to the hub, at this rate."""

    hub: ActorAddress
    count: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Wake:
    """One control message, with the times (monotonic, s) at which it left its last two senders."""

    number: int
    left_source: float
    left_hub: float = 0.0


@dataclass(frozen=True, slots=True)
class Woken:
    """A child's reply."""

    wake: Wake
    reached_child: float
    left_child: float


@dataclass(frozen=True, slots=True)
class Report:
    """Hub: how did it go?"""

    request_id: str


@dataclass(frozen=True, slots=True)
class Grown:
    request_id: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What the hub saw: message numbers in the order of arrival, latencies (s) of each hop, CPU since `Grow` (s)."""

    request_id: str
    arrived: tuple[int, ...]
    replied: tuple[int, ...]
    to_hub_s: tuple[float, ...]
    to_child_s: tuple[float, ...]
    to_hub_again_s: tuple[float, ...]
    cpu_s: float
    pid: int


class Leaf(SafeActor):
    @handles(Wake)
    def receiveMsg_Wake(self, message: Wake, sender: ActorAddress) -> None:
        now = time.monotonic()
        self.send(sender, Woken(message, now, time.monotonic()))


class Hub(SafeActor):
    def __init__(self) -> None:
        super().__init__()
        self.leaves: list[ActorAddress] = []
        self.arrived: list[tuple[int, float]] = []
        self.replies: list[tuple[int, float, float]] = []
        self.cpu_before = 0.0

    @handles(Grow)
    def receiveMsg_Grow(self, message: Grow, sender: ActorAddress) -> None:
        started = [self.create_child(Leaf) for _ in range(message.children)]
        self.leaves = [child.address for child in started if child is not None]
        self.cpu_before = time.process_time()
        self.send(sender, Grown(message.request_id, tuple(child.pid for child in started if child is not None)))

    @handles(Wake)
    def receiveMsg_Wake(self, message: Wake, sender: ActorAddress) -> None:
        now = time.monotonic()
        self.arrived.append((message.number, now - message.left_source))
        leaf = self.leaves[message.number % len(self.leaves)]
        self.send(leaf, Wake(message.number, message.left_source, time.monotonic()))

    @handles(Woken)
    def receiveMsg_Woken(self, message: Woken, sender: ActorAddress) -> None:
        to_child = message.reached_child - message.wake.left_hub
        self.replies.append((message.wake.number, to_child, time.monotonic() - message.left_child))

    @handles(Report)
    def receiveMsg_Report(self, message: Report, sender: ActorAddress) -> None:
        result = Result(
            request_id=message.request_id,
            arrived=tuple(number for number, _ in self.arrived),
            replied=tuple(number for number, _, _ in self.replies),
            to_hub_s=tuple(latency for _, latency in self.arrived),
            to_child_s=tuple(latency for _, latency, _ in self.replies),
            to_hub_again_s=tuple(latency for _, _, latency in self.replies),
            cpu_s=time.process_time() - self.cpu_before,
            pid=os.getpid(),
        )
        self.send(sender, result)


class Source(SafeActor):
    def __init__(self) -> None:
        super().__init__()
        self.flow: Flow | None = None
        self.sent = 0
        self.began = 0.0

    @handles(Flow)
    def receiveMsg_Flow(self, message: Flow, sender: ActorAddress) -> None:
        self.flow, self.sent, self.began = message, 0, time.monotonic()
        self.after(0.0, "tick")

    def on_timer(self, name: Hashable) -> None:
        assert self.flow is not None
        if self.sent >= self.flow.count:
            return
        self.send(self.flow.hub, Wake(self.sent, time.monotonic()))
        self.sent += 1
        self.after(max(0.0, self.began + self.sent / self.flow.per_second - time.monotonic()), name)

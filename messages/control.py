"""Commands to the supervisor, and what it and its destination actors tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluicegate.messages.codec import Message, message


@message
@dataclass(frozen=True, slots=True)
class Configure(Message):
    """First message to the router and the supervisor: the configuration (`Config.encode`); answered by `Done`.

    It registers all enabled destinations of the configuration. There is no other way to register one.
    """

    request_id: str
    config: bytes


class Introduce:
    """Tells the router where the supervisor is; not a `Message` because an actor address only travels pickled."""

    __slots__ = ("supervisor",)

    def __init__(self, supervisor: Any) -> None:
        self.supervisor = supervisor

    def __str__(self) -> str:
        return "Introduce"


@message
@dataclass(frozen=True, slots=True)
class Done(Message):
    """A command was carried out; `pid` is the answering process.

    `changed` is false when everything was so already; `note` tells in what way.
    """

    request_id: str
    pid: int = 0
    changed: bool = True
    note: str = ""


@message
@dataclass(frozen=True, slots=True)
class AreYouThere(Message):
    """Asks the router or the supervisor whether it handles messages; answered by `Done` at once."""

    request_id: str


@message
@dataclass(frozen=True, slots=True)
class Ensure(Message):
    """Events wait for these destinations: load those that are not; answered by `Running`. May be empty."""

    ids: tuple[str, ...]


@message
@dataclass(frozen=True, slots=True)
class Running(Message):
    """The destinations that have a process now and so read the log themselves; the router minds all others.

    Sent to the router as the answer to each `Ensure`, and whenever the set changes.
    """

    ids: tuple[str, ...]


@message
@dataclass(frozen=True, slots=True)
class LoadBatch(Message):
    """Load these destinations, at most `batch_size` at a time, with None as many as `load_batch_size` says.

    Answered by `LoadResults` once each is loaded or an attempt has failed; one that backs off is not waited for.
    """

    request_id: str
    ids: tuple[str, ...]
    batch_size: int | None = None


@message
@dataclass(frozen=True, slots=True)
class Preload(Message):
    """Load the enabled destinations whose whole requirement this consent grants; answered by `LoadResults`.

    `consent` is {purpose: granted}; names may be aliases of `[purposes]`, and what is left out is not granted. Of two
    names for the same purpose a denial counts. `Refused` when a purpose is none of the configuration's.
    """

    request_id: str
    consent: dict[str, bool]


@message
@dataclass(frozen=True, slots=True)
class LoadResults(Message):
    """How each load ended: None for loaded, else the reason it is not."""

    request_id: str
    results: dict[str, str | None]


@message
@dataclass(frozen=True, slots=True)
class Unload(Message):
    """Stop a destination; what arrives for it later loads it again. Answered by `Done` once it is asked to end."""

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class RetryLoad(Message):
    """Try to load a failed or quarantined destination now; keeps its retry count. Answered by `Done`.

    `Refused` when it is paused. How the attempt ended is in its status; `LoadBatch` waits for that.
    """

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class Reset(Message):
    """Forget a destination's failures, then load it if anything waits for it; answered by `Done`."""

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class Pause(Message):
    """Stop a destination and keep it stopped, over restarts too, until `Resume`; answered by `Done`.

    `Refused` when the pause could not be stored: then it holds only until the next restart.
    """

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class Resume(Message):
    """End a pause, whoever set it; what waits is delivered. Answered by `Done`.

    `Refused` when that could not be stored: then it holds only until the next restart.
    """

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class ClearAll(Message):
    """Stop every loaded destination and forget all failures; events, accounts and pauses stay. Answered by `Done`."""

    request_id: str


@message
@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Stop every destination for good: the system is going down; answered by `Done` when all have ended."""

    request_id: str
    deadline_s: float = 20.0


@message
@dataclass(frozen=True, slots=True)
class Start(Message):
    """First message to a destination actor: which destination it is, and its epoch."""

    id: str
    epoch: int
    config: bytes


@message
@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Finish the requests in flight, commit, and end; the exit is the answer."""

    epoch: int
    deadline_s: float = 20.0


@message
@dataclass(frozen=True, slots=True)
class Loaded(Message):
    """The destination's plugin is ready and delivers."""

    id: str
    epoch: int
    pid: int


@message
@dataclass(frozen=True, slots=True)
class LoadFailed(Message):
    """The plugin could not be imported, initialised or tested; the actor ends by itself.

    `permanent`: something has to be installed first, so it is not tried again before `RetryLoad`.
    """

    id: str
    epoch: int
    reason: str
    permanent: bool = False


@message
@dataclass(frozen=True, slots=True)
class Halted(Message):
    """The vendor refuses us as a whole, so the destination is to be paused; the actor ends by itself."""

    id: str
    epoch: int
    reason: str


@message
@dataclass(frozen=True, slots=True)
class Progress(Message):
    """A sign of life, every few seconds and when something changed.

    `cursor` is the last offset dealt with, `caught_up` says that it is the head. `idle_s` is the time since it last
    had an event to deliver, `stalled_s` how long its oldest call to the vendor has run, `delivered` how many events
    went out in this epoch. `error` is the last delivery error, None once a batch went through. `breaker` is the state
    of its circuit breaker, `reason` why nothing or little goes out, `unknown_outcomes` how many calls got no answer,
    `delivered_unenforced` how many events went although nobody said anything about consent. For `rests_s` its open
    breaker lets no call out.
    """

    id: str
    epoch: int
    cursor: int
    caught_up: bool
    idle_s: float
    stalled_s: float
    delivered: int
    error: str | None = None
    breaker: str = "closed"
    reason: str | None = None
    unknown_outcomes: int = 0
    delivered_unenforced: int = 0
    rests_s: float = 0.0

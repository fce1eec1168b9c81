"""Watching replays of dead letters until they have ended, each destination by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import uuid4

from sluicegate.audit.words import Final, final
from sluicegate.client import Client
from sluicegate.delivery.letters import LetterFilter, LetterStatus
from sluicegate.delivery.store import DestinationStore
from sluicegate.eventlog.base import Offset
from sluicegate.loading.pauses import in_words
from sluicegate.loading.status import FAILING, State
from sluicegate.messages.control import LoadBatch
from sluicegate.messages.status import DestinationStatus
from sluicegate.paths import DataDir
from sluicegate.proof import growing_row, words_since
from sluicegate.scripts.loading import load_all

LOOK_EVERY_S = 0.1
CHUNK = 500

_STUCK = FAILING | {State.PAUSED}
_WAITING = LetterFilter(status=LetterStatus.REPLAY)


@dataclass(frozen=True, slots=True)
class Replay:
    """How the replay of one destination's `letters` stands; the counts below add up to them.

    `denied` are those that consent does not allow any more, `dead` those that were refused again, `dropped` what
    somebody has dropped meanwhile. `waiting` has not ended yet; `error` says why it does not go on, None while it does.
    """

    id: str
    letters: int
    delivered: int
    denied: int
    dead: int
    dropped: int
    waiting: int
    error: str | None


@dataclass(slots=True)
class _Watched:
    id: str
    store: DestinationStore
    chosen: dict[int, Offset]
    """The letters that are to be replayed now, by id."""
    letters: dict[int, Offset]
    """These and those that waited for a replay before."""
    since: int
    """The row of the proof from which on the replay is told."""
    error: str | None = None
    n_waiting: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_waiting = len(self.letters)

    @property
    def goes_on(self) -> bool:
        return self.n_waiting > 0 and self.error is None


class Replays:
    """The chosen letters of these destinations, and those that wait already; a context manager: it holds the stores.

    Made before the first letter is marked, because a running destination takes them while others are still marked.
    """

    def __init__(self, where: DataDir, names: Sequence[str], chosen: LetterFilter) -> None:
        self._held = ExitStack()
        self._watched: list[_Watched] = []
        for name in names:
            path = where.store(name)
            since, store = growing_row(path), DestinationStore.open(path, start=0)
            self._held.callback(store.close)
            letters = store.letters.offsets(chosen)
            self._watched.append(_Watched(name, store, letters, letters | store.letters.offsets(_WAITING), since))
        self.total = sum(len(one.letters) for one in self._watched)

    def mark(self) -> None:
        """Mark the chosen letters, each once, in chunks, so that the destinations can write in between."""
        for one in self._watched:
            for some in in_chunks(one.chosen):
                one.store.letters.mark_replay(some)

    def watch(self, client: Client, *, timeout_s: float, progress: Callable[[int], None]) -> list[Replay]:
        """Load the destinations, and wait until all letters have ended, nothing goes on, or time is up."""
        if self._watched:
            self._load(client)
        deadline = time.monotonic() + timeout_s
        while any(one.goes_on for one in self._watched) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            states = {status.id: status for status in client.status(*(one.id for one in self._watched if one.goes_on))}
            for one in self._watched:
                if one.id in states:
                    progress(_look(one, states[one.id]))
        return [_ended(one) for one in self._watched]

    def _load(self, client: Client) -> None:
        request = LoadBatch(uuid4().hex, tuple(one.id for one in self._watched))
        results = load_all(client, request)
        for one in self._watched:
            one.error = results[one.id]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def in_chunks(ids: Iterable[int]) -> Iterator[LetterFilter]:
    """Filters that choose these letters, oldest first, so many each as a change may have."""
    rest = sorted(ids)
    for begin in range(0, len(rest), CHUNK):
        yield LetterFilter(ids=rest[begin : begin + CHUNK])


def outcome_text(one: Replay) -> str:
    """The outcome at one destination in words."""
    counts = {
        "delivered": one.delivered,
        "denied: they may not go any more": one.denied,
        "dead again": one.dead,
        "dropped": one.dropped,
        "wait": one.waiting,
    }
    text = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to replay"
    return f"{text}: {one.error}" if one.error is not None else text


def _look(one: _Watched, status: DestinationStatus) -> int:
    """See how far it is; how many letters have ended since the last look."""
    before, one.n_waiting = one.n_waiting, one.store.letters.count(_WAITING)
    if one.n_waiting and status.state in _STUCK:
        is_paused = status.state == State.PAUSED
        one.error = in_words(status.reason) if is_paused else f"{status.state}: {status.error or status.reason}"
    return max(0, before - one.n_waiting)


def _ended(one: _Watched) -> Replay:
    statuses = one.store.letters.statuses(list(one.letters))
    words = words_since(one.store.path, one.since)
    gone = [final(words.get(offset, "")) for id, offset in one.letters.items() if id not in statuses]
    delivered = sum(decision in (Final.DELIVERED, Final.REDACTED) for decision in gone)
    stand = list(statuses.values())
    waiting = stand.count(LetterStatus.REPLAY)
    return Replay(
        one.id,
        letters=len(one.letters),
        delivered=delivered,
        denied=len(gone) - delivered,
        dead=stand.count(LetterStatus.DEAD),
        dropped=stand.count(LetterStatus.DROPPED),
        waiting=waiting,
        error=one.error if waiting else None,
    )

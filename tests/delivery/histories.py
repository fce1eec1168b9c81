"""Histories of one destination whose process dies again and again, by a scripted vendor under a virtual clock.

`python -m tests.delivery.histories --histories 20000` tries random ones and names those that break the order.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from unittest import mock
from zlib import crc32

from sluicegate.config.declaration import Limits
from sluicegate.delivery import backlog, lane
from sluicegate.delivery.beyond import Block, Remembered
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.recovery import Recovery, Suspect
from sluicegate.delivery.settlement import Dead, Progress
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from tests.delivery.lanes_harness import Harness

MAX_LIVES = 200


@contextlib.contextmanager
def _spread_anew(salt: int, n_slots: int) -> Iterator[None]:
    """Every process spreads subjects over slots in another way; with few slots many subjects share one."""

    def slots_of(subjects: Iterable[str]) -> bytes:
        return bytes([crc32(subject.encode(), salt) % n_slots for subject in subjects])

    with mock.patch.object(backlog, "slots_of", slots_of), mock.patch.object(lane, "slots_of", slots_of):
        yield


class Killed(Exception):
    """The process died."""


@dataclass(slots=True)
class History:
    """What becomes of the events of `subjects`.

    An event in `deadly` kills every process that delivers it, one in `refused` has its whole call rejected, one in
    `sick` makes it fail as often as it says. Besides, calls fail and processes die by chance.
    """

    seed: int
    subjects: Sequence[str]
    deadly: frozenset[int]
    refused: frozenset[int]
    sick: dict[int, int]
    limits: Limits
    death_rate: float
    failure_rate: float
    total: Progress = field(default_factory=lambda: Progress(0))
    stored: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """Every call in turn, for people."""
    _random: Random = field(init=False)
    _deaths: dict[int, list[tuple[int, int, bool]]] = field(default_factory=dict)
    _retries: list[PendingRetry] = field(default_factory=list)
    _blocks: dict[int, Block] = field(default_factory=dict)
    _stories: dict[int, tuple[Dead, int]] = field(default_factory=dict)
    _settled: set[int] = field(default_factory=set)
    """What earlier processes have kept of events beyond the cursor."""
    _forgets: bool = False
    """Whether nothing of that is kept, as after a change of what is required."""

    @classmethod
    def of(cls, seed: int, *, n_events: int, n_subjects: int, max_events: int, in_flight: int, killers: int) -> History:
        """Everything else follows from the seed."""
        random = Random(seed)
        subjects = [f"s{random.randrange(n_subjects)}" for _ in range(n_events)]
        deadly, refused, sick = (
            frozenset(random.randrange(n_events) + 1 for _ in range(n))
            for n in (killers, random.choice([0, 0, 1, 3]), random.choice([0, 0, 1, 2]))
        )
        return cls(
            seed,
            subjects,
            deadly,
            refused,
            {offset: random.randint(1, 12) for offset in sick},
            Limits(max_events=max_events, max_bytes=10_000, in_flight=in_flight),
            random.choice([0.0, 0.01, 0.01, 0.05]),
            random.choice([0.05, 0.2]),
        )

    def __post_init__(self) -> None:
        self._random = Random(self.seed + 1)
        self._forgets = Random(self.seed + 2).random() < 0.5

    def run(self) -> History:
        """One life after the other, until all events have ended."""
        for epoch in range(1, MAX_LIVES):
            self._live(epoch)
            if self.total.cursor == len(self.subjects):
                break
        return self

    def overtaken(self) -> dict[str, list[int]]:
        """By subject the offsets in the order of their first deliveries, where it is not that of the log."""
        first: dict[str, list[int]] = {}
        for offset in dict.fromkeys(self.stored):
            first.setdefault(self.subjects[offset - 1], []).append(offset)
        return {subject: offsets for subject, offsets in first.items() if offsets != sorted(offsets)}

    def _live(self, epoch: int) -> None:
        suspects = [Suspect(o, len(d), sum(one[2] for one in d), d[0][:2]) for o, d in self._deaths.items()]
        self.calls.append(f"life {epoch}, cursor {self.total.cursor}, {suspects}, {self._retries}")
        random = self._random
        harness = Harness(
            self._vendor,
            limits=self.limits,
            subjects=list(self.subjects),
            duration_s=lambda: random.choice([0.01, 3.0]),
            seed=self.seed + epoch,
            cursor=self.total.cursor,
            recovery=Recovery(self._retries, suspects, remembered=Remembered(dict(self._blocks), dict(self._stories))),
        )
        try:
            with _spread_anew(random.randrange(1_000), random.choice([5, 50, 255])):
                harness.run()
        except Killed:
            self._note_death(harness, epoch)
        self.total.add(Progress(harness.total.cursor, harness.total.delivered, dead=harness.total.dead))
        self._deaths = {offset: d for offset, d in self._deaths.items() if offset > self.total.cursor}

    def _vendor(self, batch: Batch, now: float) -> BaseException | None:
        said = f"{now:9.3f} {[(offset, self.subjects[offset - 1]) for offset in batch.offsets]}"
        offsets, chance = set(batch.offsets), self._random.random
        assert not offsets & self._settled, f"{offsets & self._settled} were settled, and go out again"
        if self.deadly & offsets or chance() < self.death_rate:
            self.calls.append(f"{said} kills")
            raise Killed
        if self.refused & offsets:
            self.calls.append(f"{said} refused")
            return Rejected("no")
        ill = [offset for offset in offsets if self.sick.get(offset)]
        self.sick.update({offset: self.sick[offset] - 1 for offset in ill})
        if ill or chance() < self.failure_rate:
            self.calls.append(f"{said} again")
            return Retry("busy")
        self.calls.append(f"{said} stored")
        self.stored.extend(batch.offsets)
        return None

    def _note_death(self, harness: Harness, epoch: int) -> None:
        calls = [work.batch.offsets for _, _, work in harness.running] + [harness.last_call]
        alone = len(calls) == 1 and len(calls[0]) == 1
        harness.account()
        for number, call in enumerate(calls):
            for offset in call:
                self._deaths.setdefault(offset, []).append((epoch, number, alone))
        self.calls.append(f"in flight: {calls}")
        self._retries = harness.lanes.retries(harness.now, anyway=True) or []
        if self._forgets:
            return
        settlement = harness.lanes.settlement
        self._blocks |= {block.number: block for block in settlement.blocks()}
        self._stories |= {offset: (dead, 0) for offset, dead in settlement.news.dead.items()}
        endings = Remembered(self._blocks).endings(1, len(self.subjects))
        self._settled = {offset for _, offsets in endings for offset in offsets} | self._stories.keys()


def _sample(random: Random) -> History:
    return History.of(
        random.randrange(2**32),
        n_events=random.randint(1, 150),
        n_subjects=random.randint(1, 20),
        max_events=random.randint(1, 30),
        in_flight=random.randint(1, 6),
        killers=random.randint(0, 2),
    )


def explore(n_histories: int, seed: int) -> Iterator[History]:
    """Random histories in which the order did not hold, or that did not come to an end."""
    random = Random(seed)
    for _ in range(n_histories):
        history = _sample(random)
        try:
            history.run()
        except AssertionError as error:
            history.calls.append(str(error))
            yield history
            continue
        if history.overtaken() or history.total.cursor != len(history.subjects):
            yield history


def main(arguments: Sequence[str] | None = None) -> int:
    """Try random histories; 0 when the order held in all."""
    parser = argparse.ArgumentParser(prog="python -m tests.delivery.histories")
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print the calls of the shortest that breaks the order")
    chosen = parser.parse_args(arguments)
    broken = list(explore(chosen.histories, chosen.seed))
    print(f"{chosen.histories} histories, order broken in {len(broken)}")
    if broken and chosen.trace:
        shortest = min(broken, key=lambda one: len(one.subjects))
        print("\n".join([*shortest.calls, f"{shortest.limits} {shortest.overtaken()}"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a run puts in the place of the real thing while it lasts: times, the spread of subjects, the ledger's file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from sluicegate.delivery import backlog, commits, erasing, held_sweep, holding, pace
from sluicegate.delivery.erasing import Report

if TYPE_CHECKING:
    from tests.simulation.world import World

GIVE_UP_AFTER_S = 40.0
"""Stands in for the product's 24 hours."""
EPOCH_MS = 1_600_000_000_000
"""When every run begins, in Unix milliseconds."""

_slots_of = backlog.slots_of
_WHO_SPREADS = [
    module
    for name, module in list(sys.modules.items())
    if name.startswith("sluicegate.delivery.") and getattr(module, "slots_of", None) is _slots_of
]


_AT_A_TIME = (
    (holding, "AT_A_TIME"),
    (holding, "LANES"),
    (holding, "EXPIRE_AT_A_TIME"),
    (holding, "CAREFUL_AT_A_TIME"),
    (held_sweep, "JUDGE_AT_A_TIME"),
    (held_sweep, "JUDGE_PER_PASS"),
    (held_sweep, "EXPIRE_PER_PASS"),
)
"""Of how much the product takes at a time, which a run has little of."""


def _spread(subjects: Iterable[str]) -> bytes:
    """The product spreads subjects by `hash`, which differs between processes; a seed must not."""
    return bytes([crc32(subject.encode()) % backlog.N_SLOTS for subject in subjects])


def _wall_ms(monotonic_s: float) -> int:
    return EPOCH_MS + round(monotonic_s * 1000)


def _keys_to_erase(ledger: Any, id_: str) -> frozenset[bytes]:
    found: frozenset[bytes] = ledger.keys_of(id_)
    return found


def _suppressed_to(ledger: Any, id_: str) -> int:
    found: int = ledger.suppressed_to(id_)
    return found


def _note(ledger: Any, id_: str, report: Mapping[str, Any]) -> None:
    ledger.regulation(id_).report = dict(report)


def _finish(ledger: Any, id_: str, report: Mapping[str, Any], *, now_ms: int) -> None:
    ledger.finish(id_, Report.of(report))


@contextlib.contextmanager
def virtual(world: World) -> Iterator[None]:
    """The product's modules take the run's time for the time."""
    clock = SimpleNamespace(monotonic=lambda: world.clock.now)
    places: list[tuple[Any, str, object]] = [(module, "slots_of", _spread) for module in _WHO_SPREADS]
    places += [
        (pace, "GIVE_UP_AFTER_S", GIVE_UP_AFTER_S),
        (commits, "time", clock),
        (commits, "wall_ms", _wall_ms),
        (holding, "time", clock),
        (erasing, "keys_to_erase", _keys_to_erase),
        (erasing, "suppressed_to", _suppressed_to),
        (erasing, "note", _note),
        (erasing, "finish", _finish),
    ]
    places += [(module, name, min(getattr(module, name), world.n_at_a_time)) for module, name in _AT_A_TIME]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)

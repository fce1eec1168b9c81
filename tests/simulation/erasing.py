"""Erasing in the run: the product's `Eraser` over the model log and stores, driven as `ErasingThread` drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Regulation as StoredRegulation
from sluicegate.consent.regulation import SubjectKind
from sluicegate.consent.standing import NO_END
from sluicegate.delivery.erasing import SETTLE_S, Eraser, Report, _is_erased
from sluicegate.delivery.regulating import LOOK_EVERY_S
from sluicegate.delivery.whose import Whose
from sluicegate.errors import LogUnavailable
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.erasing import LogEraser
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from tests.simulation.faults import Fault
from tests.simulation.ledger import KEYS, Forgotten, Regulation, key_of, remembered

if TYPE_CHECKING:
    from tests.simulation.world import World

_NO_FILES = SimpleNamespace(glob=lambda pattern: (), rglob=lambda pattern: (), is_dir=lambda: False)
_FILES = SimpleNamespace(
    event_log=SimpleNamespace(exists=lambda: True), root=_NO_FILES, stores=_NO_FILES, logs=_NO_FILES
)
"""Where the product looks for files: there are only the log and the stores, which are modelled."""


class LedgerFile:
    """What the eraser writes to the ledger."""

    path = Path("consent.db")
    keys = KEYS
    db = SimpleNamespace(wal_checkpoint=lambda mode: nullcontext())

    def __init__(self, world: World) -> None:
        self._world = world

    def regulation(self, id_: str) -> Regulation:
        """The regulation with this id, which is its number."""
        found = self._world.consent.entries[int(id_) - 1]
        assert isinstance(found, Regulation)
        return found

    def keys_of(self, id_: str) -> frozenset[bytes]:
        """Whom it is to erase."""
        return frozenset((key_of(self.regulation(id_).subject),))

    def suppressed_to(self, id_: str) -> Offset:
        """Until when its subject is suppressed."""
        consent = self._world.consent
        return consent.of(self.regulation(id_).subject, consent.version).suppressed_to

    def finish(self, id_: str, report: Report) -> None:
        """Nothing is left; what a suppressed person has said since goes too."""
        world, regulation = self._world, self.regulation(id_)
        regulation.finished = True
        suppressed = regulation.kind.suppresses and self.suppressed_to(id_) == NO_END
        if suppressed and remembered(world.consent.of_subject[regulation.subject]):
            world.oracle.written(
                world.consent.write(Forgotten(subject=regulation.subject, recorded_ms=world.now_ms(), answered=True))
            )
        world.oracle.erased(regulation, report)


class ModelEraser(Eraser):
    """The product's, where files are opened."""

    def __init__(self, world: World, *, stop: Callable[[], bool]) -> None:
        super().__init__(cast(DataDir, _FILES), cast(Ledger, LedgerFile(world)), stop=stop)
        self._world = world

    @contextmanager
    def _opened(self) -> Iterator[tuple[SqliteLog, LogEraser]]:
        log = self._world.log
        yield cast(SqliteLog, log), cast(LogEraser, log)

    def _erase_stores(self, whose: Whose, report: Report, up_to: Offset) -> None:
        log = cast(SqliteLog, self._world.log)
        for site in self._world.sites.values():
            report.letters += site.store.erase(
                lambda letter: letter.offset <= up_to and whose.event(letter.event),
                lambda offset: _is_erased(log, offset),
            )

    def _leave_nothing(self) -> None:
        self._world.log.sync()
        for site in self._world.sites.values():
            site.store.sync()


class Erasing:
    """One life of the thread; it lives in the router's process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun: dict[int, tuple[Report, float]] = {}
        self._looks = False
        self.begin()

    @property
    def alive(self) -> bool:
        """Whether it is this one that erases now."""
        return self._world.erasing is self

    def begin(self) -> None:
        """There may be something to do."""
        if not self._looks and self._world.consent.regulations():
            self._looks = True
            self._world.clock.after(self._world.random.uniform(0.0, LOOK_EVERY_S), "", self._look)

    def _look(self) -> None:
        self._looks = False
        if not (self.alive and self._world.router.alive):
            return
        try:
            for regulation in self._world.consent.regulations():
                self._go_on(regulation)
        except LogUnavailable as error:
            self._world.oracle.seen["erasing had to wait"] += 1
            self._world.trace.say(self._world.clock.now, f"erasing has to wait: {error}")
        self.begin()

    def _go_on(self, regulation: Regulation) -> None:
        world, number = self._world, regulation.number
        eraser = ModelEraser(world, stop=lambda: world.swarm.chance(Fault.ERASING_INTERRUPTED))
        stored = StoredRegulation(
            str(number), regulation.kind, SubjectKind.ANONYMOUS_ID, 1, regulation.head, 0, report=regulation.report
        )
        begun = self._begun.get(number)
        if begun is None:
            self._begun[number] = eraser.begin(stored), world.clock.now
        elif world.clock.now >= begun[1] + SETTLE_S:
            eraser.complete(stored, begun[0], now_ms=world.now_ms())
            del self._begun[number]

"""The router's shell: the real sweep, over the model log and stores, as `delivery.sweeper` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from sluicegate.consent.reading import LedgerReader
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HoldBounds
from sluicegate.delivery.held_log import Numbers
from sluicegate.delivery.held_sweep import HeldSweep
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweep import Skip, Sweep
from sluicegate.delivery.sweeper import (
    LOOK_EVERY_S,
    PASS_EVERY_S,
    READ_BYTES,
    REPLAYS_EVERY_S,
    SKIP_EVERY_S,
)
from sluicegate.errors import ConsentUnreadable, LogUnavailable
from sluicegate.event import Combo
from sluicegate.eventlog.base import Row
from sluicegate.routing import Decision, RoutingTable
from tests.simulation.clock import Timer
from tests.simulation.faults import Fault
from tests.simulation.ledger import ModelReader
from tests.simulation.store import ModelStore

if TYPE_CHECKING:
    from tests.simulation.world import World

ASK_AGAIN_S = 2.0
ASK_IDLE_S = 10.0
READ_EVENTS = 20
"""So few that a backlog takes several passes, and that one destination can be far behind the others."""


class Router:
    """One life of the router actor and its sweeper."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.alive = True
        self._routes = RoutingTable(site.config for site in world.sites.values())
        self._sweep = Sweep(self._decide, self._decide_each, self._hold)
        self._ledger = ModelReader(world)
        ledger, rules = cast(LedgerReader, self._ledger), world.consent_config
        self._gates = {
            id: Gate(ledger, site.config.requires, rules, clock_ms=world.now_ms) for id, site in world.sites.items()
        }
        self._held = HeldSweep(
            ledger, self._gates, HoldBounds.of(rules), self._decide, lambda id: cast(DestinationStore, self._open(id))
        )
        self._numbers = Numbers(ledger)
        self._held_version = 0
        self._running: frozenset[str] | None = None
        self._wanted: tuple[str, ...] = ()
        self._next_skip = self._next_replays = 0.0
        self._timer: Timer | None = None
        self._ask_timer: Timer | None = None
        self._ask()
        self._pass_in(0.0)

    def set_running(self, ids: tuple[str, ...]) -> None:
        """The supervisor says who has a process."""
        if self.alive:
            self._running = frozenset(ids)
            self._pass_in(PASS_EVERY_S)

    def hear_bell(self) -> None:
        """The log has grown."""
        if self.alive and self._sweep.position() is not None:
            self._pass_in(PASS_EVERY_S)

    def introduce(self) -> None:
        """There is a new supervisor."""
        if self.alive:
            self._ask()

    def _pass_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._world.clock.after(delay_s, "", self._pass)

    def _pass(self) -> None:
        if not self.alive:
            return
        now = self._world.clock.now
        try:
            self._follow_running()
            goes_on = False
            try:
                goes_on = self._look()
                self._mind_held(now)
            except ConsentUnreadable:
                goes_on = False
            if now >= self._next_replays:
                self._next_replays = now + REPLAYS_EVERY_S
                self._find_replays()
            wanted = self._sweep.wanted()
            if wanted != self._wanted:
                self._wanted = wanted
                self._ask()
            if now >= self._next_skip:
                self._next_skip = now + SKIP_EVERY_S
                for skip in self._sweep.skips(at_most=100):
                    self._skip(skip)
        except LogUnavailable:
            self._pass_in(LOOK_EVERY_S)
            return
        wait_s = max(PASS_EVERY_S, self._next_skip - now) if self._sweep.has_skips else LOOK_EVERY_S
        self._pass_in(PASS_EVERY_S if goes_on or self._held.busy else wait_s)

    def _follow_running(self) -> None:
        if self._running is None:
            return
        for id in self._sweep.watched() & self._running:
            self._forget(id)
        watched = self._sweep.watched()
        for id in self._world.sites:
            if id not in watched and id not in self._running:
                store = self._open(id)
                state = store.state
                waits = bool(store.letters.replays(limit=1) or store.held.released(limit=1))
                wanted = waits or state.settled_to > 0
                self._sweep.watch(id, epoch=state.epoch, cursor=state.cursor, wanted=wanted)
                self._held.watch(id, state)
                if self._is_present(id):
                    self._forget(id)

    def _is_present(self, id: str) -> bool:
        return any(process.id == id and process.is_present for process in self._world.processes if process.alive)

    def _forget(self, id: str) -> None:
        self._sweep.forget(id)
        self._held.forget(id)

    def _look(self) -> bool:
        """Read on for one piece, as a slow disk has it; whether there may be more."""
        position = self._sweep.position()
        if position is None:
            return False
        front = self._sweep.front(READ_EVENTS)
        if front is not None and front > position:
            self._read(front)
        return bool(self._read(position)) and self._sweep.position() != position

    def _read(self, position: int) -> Sequence[Row]:
        rows = self._world.log.read(position, max_events=READ_EVENTS, max_bytes=READ_BYTES)
        self._ledger.refresh()
        if not self._sweep.n_held():
            self._held_version = self._ledger.version
        for row in rows:
            self._sweep.look(row, after=position)
        if not rows:
            self._sweep.lose(self._world.log.tail() - 1)
        return rows

    def _mind_held(self, now: float) -> None:
        if self._sweep.watched():
            self._ledger.refresh()
        for id in self._held.look(self._world.log, now_ms=int(now * 1000)):
            self._sweep.want(id)
        for id in self._sweep.watched() - self._held.watched():
            self._sweep.forget(id)

    def _find_replays(self) -> None:
        for id in self._world.sites:
            if id in self._sweep.watched():
                store = self._open(id)
                if store.letters.replays(limit=1) or store.held.released(limit=1):
                    self._sweep.want(id)

    def _skip(self, skip: Skip) -> None:
        moved = self._open(skip.id).skip(
            expected_epoch=skip.epoch,
            expected_cursor=skip.cursor,
            cursor=skip.to,
            denied=skip.denied,
            expired=skip.expired,
            held=self._held.holds(skip.id, tuple(skip.held), judged_by=self._held_version),
            decisions=skip.decisions,
        )
        if moved:
            self._world.oracle.seen["skip"] += 1
            self._sweep.skipped(skip)
        elif skip.id not in (self._running or ()):
            self._forget(skip.id)

    def _ask(self) -> None:
        world, wanted = self._world, self._wanted
        world.send(f"supervisor: ensure {wanted}", lambda: world.supervisor.ensure(wanted))
        if self._ask_timer is not None:
            self._ask_timer.cancel()
        self._ask_timer = world.clock.after(ASK_AGAIN_S if wanted else ASK_IDLE_S, "", self._ask_again)

    def _ask_again(self) -> None:
        if self.alive:
            self._ask()

    def _open(self, id: str) -> ModelStore:
        return ModelStore(self._world.sites[id].store, enter=self._enter_store)

    def _enter_store(self) -> None:
        if self._world.swarm.chance(Fault.STORE_UNAVAILABLE):
            raise LogUnavailable("the store is locked")

    def _decide_each(self, id: str, row: Row, skipped: int) -> list[str | None] | None:
        gate, reasons = self._gates[id], [self._decide(id, combo) for combo in row.meta.combos]
        if not any(reason in (None, Decision.CONSENT_UNDECIDED) for reason in reasons):
            return None
        if not gate.completes and not (gate.holds and Decision.CONSENT_UNDECIDED in reasons):
            return None
        return gate.completed(row.meta.about, reasons, skipped, first=row.first, arrived_ms=row.received_at_ms)

    def _hold(self, id: str, row: Row, places: Sequence[int]) -> Sequence[HeldRow]:
        offsets = [row.first + place for place in places]
        return self._numbers.rows(row.meta.about.pick(places), offsets, arrived_ms=row.received_at_ms)

    def _decide(self, id: str, combo: Combo) -> str | None:
        decision = self._routes.decide(combo, id)
        return None if decision is Decision.ALLOW else decision

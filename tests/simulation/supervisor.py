"""The supervisor's shell: the real loading table, and what its effects do in the simulated world."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sluicegate.errors import Refused
from sluicegate.loading.effects import BatchDone, Drained, Effect, Kill, PersistPause, RequestStop, Spawn
from sluicegate.loading.lifecycle import GAVE_PLACE
from sluicegate.loading.pauses import by_operator
from sluicegate.loading.table import LoadingTable
from tests.simulation.clock import Timer, Violation
from tests.simulation.destination import DestinationProcess
from tests.simulation.faults import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World

Input = Callable[[LoadingTable, float], list[Effect]]


class Supervisor:
    """One life of the supervisor actor."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.alive = True
        self.drained = False
        self._frozen_until = -math.inf
        self._inbox: list[Input] = []
        self.table = LoadingTable(world.supervisor_config, random=world.jitter)
        self.children: dict[str, DestinationProcess] = {}
        self.open_requests: set[str] = set()
        self.answers: dict[str, Mapping[str, str | None]] = {}
        self._n_requests = 0
        self._timer: Timer | None = None
        self._told: tuple[str, ...] = ()
        self._retries: dict[str, int] = {}
        for id, site in world.sites.items():
            self.table.register(id, epoch=site.store.content.epoch, paused=world.pauses.get(id))

    # Inputs

    def tell(self, what: str, call: Input) -> None:
        """A message from a destination."""
        self._world.send(what, lambda: self.take(call))

    def tell_failed(self, process: DestinationProcess, reason: str) -> None:
        """`LoadFailed`: perhaps somebody had a later epoch than we knew."""
        id, epoch = process.id, process.epoch

        def failed(table: LoadingTable, now: float) -> list[Effect]:
            table.learn_epoch(id, self._world.sites[id].store.content.epoch)
            return table.failed(id, epoch, now=now, reason=reason)

        self.tell(f"{process.name}: failed: {reason}", failed)

    def hear_exit(self, process: DestinationProcess) -> None:
        """A process of ours is gone; we shall hear of it, perhaps."""
        chance, random = self._world.swarm.chance, self._world.random
        if chance(Fault.EXIT_LOST):
            return
        for _ in range(2 if chance(Fault.EXIT_DOUBLED) else 1):
            delay_s = random.uniform(0.0, 0.01)
            if chance(Fault.MESSAGE_DELAYED):
                delay_s = random.uniform(0.05, 5.0)
            self._world.clock.after(delay_s, "", lambda: self._see_exit(process))

    def _see_exit(self, process: DestinationProcess) -> None:
        if self.children.get(process.id) is process:
            del self.children[process.id]
        self.take(lambda table, now: table.exited(process.id, process.epoch, now=now))

    def take(self, call: Input) -> None:
        """An input reaches the table."""
        if not self.alive:
            return
        now = self._world.clock.now
        if now < self._frozen_until:
            self._inbox.append(call)
        else:
            self._carry_out(call(self.table, now))

    def freeze(self, seconds: float) -> None:
        """Nothing is handled for a while; it all comes after."""
        until = self._world.clock.now + seconds
        if until > self._frozen_until:
            self._frozen_until = until
            self._world.clock.after(seconds, "", lambda: self.thaw() if self._frozen_until == until else None)

    def thaw(self) -> None:
        """Handle what has come meanwhile."""
        self._frozen_until = -math.inf
        inbox, self._inbox = self._inbox, []
        for call in inbox:
            self.take(call)

    def ensure(self, ids: tuple[str, ...]) -> None:
        """The router asks."""

        def ensure(table: LoadingTable, now: float) -> list[Effect]:
            self._told = ("?",)  # whoever asks is told, changed or not
            return table.ensure(ids, now=now)

        self.take(ensure)

    def operate(self, kind: Fault, id: str) -> None:
        """An operator's command; it is not lost, and may be refused."""
        self.take(lambda table, now: self._command(kind, id, table, now))

    def load_batch(self, ids: tuple[str, ...]) -> str:
        """A request to load these, to be answered once; its name."""
        self._n_requests += 1
        request = f"r{self._n_requests}"
        self.open_requests.add(request)
        self.take(lambda table, now: table.load_batch(request, ids, now=now, batch_size=2))
        return request

    def drain(self) -> None:
        """Stop everything for good."""
        self.take(lambda table, now: table.drain_all("drain", now=now, deadline_s=5.0))

    def _command(self, kind: Fault, id: str, table: LoadingTable, now: float) -> list[Effect]:
        for one in self._world.sites if kind is Fault.CLEAR_ALL else (id,):
            self._world.oracle.ledgers[one].failed_at = None  # people need not wait
        try:
            match kind:
                case Fault.PAUSE:
                    return table.pause(id, now=now, reason=by_operator(table.paused(id)))
                case Fault.RESUME:
                    return table.resume(id, now=now)
                case Fault.UNLOAD:
                    return table.unload(id, now=now)
                case Fault.RETRY:
                    return table.retry(id, now=now)
                case Fault.RESET:
                    return table.reset(id, now=now)
                case _:
                    return table.clear_all(now=now)
        except Refused:
            if id not in self._world.pauses:
                raise Violation(f"{kind} of {id} is refused") from None
            return []

    # Effects

    def _carry_out(self, effects: list[Effect]) -> None:
        self._note_failures()
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            if self._world.trace.on:
                self._world.trace.say(self._world.clock.now, f"supervisor: {effect}")
            queue.extend(self._carry_out_one(effect))
            self._note_failures()
        self._arm()
        ids = self.table.running()
        if ids != self._told:
            self._told = ids
            router = self._world.router
            self._world.send(f"router: running {ids}", lambda: router.set_running(ids))

    def _carry_out_one(self, effect: Effect) -> list[Effect]:
        match effect:
            case Spawn():
                return self._spawn(effect)
            case RequestStop(id, epoch, deadline_s):
                child = self.children.get(id)
                if child is not None and child.epoch == epoch:
                    self._world.send(f"{child.name}: stop", lambda: child.receive(lambda: child.stop(deadline_s)))
            case Kill():
                return self._kill(effect)
            case PersistPause(id, reason):
                if reason is None:
                    self._world.pauses.pop(id, None)
                else:
                    self._world.pauses[id] = reason
            case BatchDone(key, results):
                if key not in self.open_requests:
                    raise Violation(f"request {key} is answered twice")
                self.open_requests.remove(key)
                self.answers[key] = results
            case Drained():
                if self.drained or any(p.alive and p.supervisor is self for p in self._world.processes):
                    raise Violation("drained twice, or with processes")
                self.drained = True
        return []

    def _spawn(self, effect: Spawn) -> list[Effect]:
        world, table, id, epoch = self._world, self.table, effect.id, effect.epoch
        world.oracle.spawns(self, effect)
        if world.swarm.chance(Fault.SPAWN_FAILED):
            return table.spawn_failed(id, epoch, now=world.clock.now, reason="no process")
        child = DestinationProcess(world, world.sites[id], epoch, self)
        self.children[id] = child
        world.processes.append(child)
        if world.swarm.chance(Fault.SPAWN_SLOW):
            world.clock.after(world.random.uniform(0.1, 3.0), f"{child.name}: exists", lambda: self._begin(child))
            return []
        world.send(f"{child.name}: start", lambda: child.receive(child.start))
        return table.spawned(id, epoch, now=world.clock.now, pid=epoch)

    def _begin(self, child: DestinationProcess) -> None:
        self.tell(
            f"{child.name}: spawned",
            lambda table, now: table.spawned(child.id, child.epoch, now=now, pid=child.epoch),
        )
        child.receive(child.start)

    def _kill(self, effect: Kill) -> list[Effect]:
        world = self._world
        world.oracle.kills(effect)
        child = self.children.get(effect.id)
        if child is None or child.epoch != effect.epoch:
            return self.table.exited(effect.id, effect.epoch, now=world.clock.now)
        if not child.alive:
            self.hear_exit(child)
        elif not world.swarm.chance(Fault.KILL_HANGS):
            child.die()
        return []

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._world.clock.now
        deadline = self.table.next_deadline(now=now)
        if deadline is not None:
            self._timer = self._world.clock.after(
                deadline - now, "", lambda: self.take(lambda table, at: table.tick(now=at))
            )

    def _note_failures(self) -> None:
        for id in self._world.sites:
            status = self.table.status(id)
            count = status.retry_count
            self._world.oracle.seen["place given in an outage"] += status.reason == GAVE_PLACE
            if count > self._retries.get(id, 0):
                self._world.oracle.ledgers[id].failed_at = self._world.clock.now
            self._retries[id] = count

"""A simulated world around the loading table: log, stores, workers, a router, an operator and a lossy network."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from sluicegate.config.model import SupervisorConfig
from sluicegate.errors import Refused
from sluicegate.loading.effects import BatchDone, Drained, Effect, Kill, PersistPause, RequestStop, Spawn
from sluicegate.loading.status import State
from sluicegate.loading.table import LoadingTable
from sluicegate.pressure import MemoryUse

HEAL_LIMIT_S = 120.0
CONFIG = SupervisorConfig(
    idle_ttl_s=4.0,
    max_loaded=1,
    spawn_timeout_s=3.0,
    retry_delay_s=0.5,
    retry_cap_s=4.0,
    max_retries=2,
    stall_timeout_s=5.0,
)
ROOMY = SupervisorConfig(
    idle_ttl_s=2.0,
    max_loaded=3,
    spawn_timeout_s=3.0,
    retry_delay_s=0.5,
    retry_cap_s=4.0,
    max_retries=2,
    stall_timeout_s=5.0,
)


@dataclass(slots=True)
class Worker:
    id: str
    epoch: int
    ready: bool = False
    alive: bool = True
    stop_asked: bool = False
    frozen: bool = False
    idle_since: float = 0.0
    delivered: int = 0


class World:
    """Log, stores, processes and network around one table."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        config = CONFIG if seed % 2 else ROOMY
        self.max_loaded = config.max_loaded
        self.ids = ("a", "b") if seed % 3 else ("a", "b", "c")
        self.table = LoadingTable(config, random=self.rng.random)
        self.now = 0.0
        self.pending = dict.fromkeys(self.ids, 0)
        self.store_epoch = dict.fromkeys(self.ids, 0)
        self.outage_until = dict.fromkeys(self.ids, 0.0)
        """As the store keeps it: over the lives of workers, nothing goes out before."""
        self.paused: set[str] = set()
        self.workers: list[Worker] = []
        self.network: list[Callable[[], list[Effect]]] = []
        self.batches = 0
        self.answers: dict[str, dict[str, str | None]] = {}
        self.drained = False
        self.faults = True
        self.spawns = 0
        for id in self.ids:
            self.table.register(id)

    # What the table wants done

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Spawn):
                self.spawn(effect)
            elif isinstance(effect, RequestStop):
                worker = self.worker(effect.id, effect.epoch)
                if worker is not None and not (self.faults and self.rng.random() < 0.15):
                    worker.stop_asked = True
            elif isinstance(effect, Kill):
                self.kill(effect)
            elif isinstance(effect, PersistPause):
                (self.paused.discard if effect.reason is None else self.paused.add)(effect.id)
            elif isinstance(effect, BatchDone):
                assert effect.request_id not in self.answers, "a batch was answered twice"
                self.answers[effect.request_id] = dict(effect.results)
            elif isinstance(effect, Drained):
                self.drained = True

    def spawn(self, effect: Spawn) -> None:
        assert not self.drained, "a start after the drain"
        assert not any(w.alive and w.id == effect.id for w in self.workers), "two live epochs"
        assert effect.epoch > self.store_epoch[effect.id], "an epoch that was had before"
        assert effect.id not in self.paused, "a paused destination was started"
        self.workers = [w for w in self.workers if w.alive or w.id != effect.id]
        assert sum(w.alive for w in self.workers) < self.max_loaded, "capacity exceeded"
        self.spawns += 1
        if self.faults and self.rng.random() < 0.05:
            self.apply(self.table.spawn_failed(effect.id, effect.epoch, now=self.now, reason="fork"))
            return
        worker = Worker(effect.id, effect.epoch)
        worker.frozen = self.faults and self.rng.random() < 0.05  # its first message was lost
        self.workers.append(worker)

    def kill(self, effect: Kill) -> None:
        worker = self.worker(effect.id, effect.epoch)
        if worker is not None and worker.alive:
            if not (self.faults and self.rng.random() < 0.2):  # else it hangs in the kernel for a while
                self.die(worker)
        else:
            self.network.append(lambda: self.table.exited(effect.id, effect.epoch, now=self.now))

    def worker(self, id: str, epoch: int) -> Worker | None:
        return next((w for w in self.workers if w.id == id and w.epoch == epoch), None)

    # What workers do

    def die(self, worker: Worker) -> None:
        worker.alive = False
        self.say(lambda: self.table.exited(worker.id, worker.epoch, now=self.now))

    def say(self, call: Callable[[], list[Effect]]) -> None:
        if self.faults:
            luck = self.rng.random()
            if luck < 0.1:
                return
            if luck < 0.25:
                self.network.append(call)
        self.network.append(call)

    def work(self, worker: Worker) -> None:
        if worker.frozen or not worker.alive:
            return
        if not worker.ready:
            self.load(worker)
        elif worker.stop_asked:
            self.die(worker)
        else:
            self.deliver(worker)

    def load(self, worker: Worker) -> None:
        id, epoch = worker.id, worker.epoch
        luck = self.rng.random() if self.faults else 1.0
        if luck < 0.2 or epoch <= self.store_epoch[id]:
            permanent = luck < 0.02
            self.say(lambda: self.table.failed(id, epoch, now=self.now, reason="not today", permanent=permanent))
            self.die(worker)
        elif luck < 0.3:
            self.die(worker)
        else:
            self.store_epoch[id] = epoch
            worker.ready = True
            worker.idle_since = self.now
            self.say(lambda: self.table.loaded(id, epoch, now=self.now, pid=epoch))

    def deliver(self, worker: Worker) -> None:
        id, epoch = worker.id, worker.epoch
        if self.faults and self.rng.random() < 0.03:
            self.say(lambda: self.table.halted(id, epoch, now=self.now, reason="401"))
            self.die(worker)
            return
        assert self.store_epoch[id] == epoch, "a stale epoch commits"
        rests_s = max(0.0, self.outage_until[id] - self.now)
        if self.pending[id] and not rests_s:
            taken = self.pending[id] if not self.faults else 1
            self.pending[id] -= taken
            worker.delivered += taken
            worker.idle_since = self.now
        said = (self.pending[id] == 0, self.now - worker.idle_since, worker.delivered)
        self.say(
            lambda: self.table.progress(
                id,
                epoch,
                now=self.now,
                caught_up=said[0],
                idle_s=said[1],
                stalled_s=0.0,
                delivered=said[2],
                rests_s=rests_s,
            )
        )

    # Turns

    def fault_step(self) -> None:
        choice = self.rng.random()
        if choice < 0.35 and self.network:
            self.apply(self.network.pop(int(self.rng.random() * len(self.network)))())
        elif choice < 0.60 and self.workers:
            self.work(self.workers[int(self.rng.random() * len(self.workers))])
        elif choice < 0.75:
            id = self.ids[int(self.rng.random() * len(self.ids))]
            self.pending[id] += 1
            if self.rng.random() < 0.8:
                self.apply(self.table.ensure([id], now=self.now))
        elif choice < 0.88:
            self.pass_time(self.rng.random() * 3.0)
        elif choice < 0.91:
            self.outage_until[self.ids[int(self.rng.random() * len(self.ids))]] = self.now + self.rng.random() * 60.0
        elif choice < 0.95 and self.workers:
            worker = self.workers[int(self.rng.random() * len(self.workers))]
            if worker.alive:
                if self.rng.random() < 0.6:
                    self.die(worker)
                else:
                    worker.frozen = True
        else:
            self.operate(self.ids[int(self.rng.random() * len(self.ids))], int(self.rng.random() * 8))

    def operate(self, id: str, choice: int) -> None:
        try:
            if choice == 0:
                self.apply(self.table.pause(id, now=self.now, reason="operator"))
            elif choice == 1:
                self.apply(self.table.resume(id, now=self.now))
            elif choice == 2:
                self.apply(self.table.unload(id, now=self.now))
            elif choice == 3:
                self.apply(self.table.retry(id, now=self.now))
            elif choice == 4:
                self.apply(self.table.reset(id, now=self.now))
            elif choice == 5:
                self.apply(self.table.clear_all(now=self.now))
            elif choice == 6:
                self.apply(self.table.shed(MemoryUse(75 + int(self.rng.random() * 25), 100), now=self.now))
            else:
                self.batches += 1
                self.apply(self.table.load_batch(str(self.batches), self.ids, now=self.now, batch_size=2))
        except Refused:
            assert id in self.paused

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        for turn in range(1_000):
            assert turn < 999, "the table asks to be called again and again"
            due = self.table.next_deadline(now=self.now)
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.apply(self.table.tick(now=self.now))
        self.now = end

    def heal(self) -> None:
        """No more faults, what was missing is installed, and time: the router asks every two seconds, as it does."""
        self.faults = False
        limit = self.now + HEAL_LIMIT_S
        while not self.quiet():
            assert self.now < limit, "a wake-up was lost: something still waits"
            for worker in self.workers:
                self.work(worker)
            while self.network:
                self.apply(self.network.pop(0)())
            for id in self.ids:
                if self.table.status(id).state is State.FAILED:
                    self.apply(self.table.retry(id, now=self.now))
            asked = [id for id in self.ids if self.pending[id] and not self.table.status(id).loaded]
            self.apply(self.table.ensure(asked, now=self.now))
            self.pass_time(1.0)

    def quiet(self) -> bool:
        waiting = any(self.pending[id] and id not in self.paused for id in self.ids)
        return not waiting and not self.network and len(self.answers) == self.batches

    def drain(self) -> None:
        self.apply(self.table.drain_all("last", now=self.now, deadline_s=2.0))
        limit = self.now + 10.0
        while not self.drained:
            assert self.now < limit, "the drain does not end"
            for worker in self.workers:
                self.work(worker)
            while self.network:
                self.apply(self.network.pop(0)())
            self.pass_time(1.0)
        assert not any(worker.alive for worker in self.workers)

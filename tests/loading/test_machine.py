from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sluicegate.loading.status import State
from tests.loading.world import World

IDS = st.sampled_from(["a", "b", "c"])
WHICH = st.integers(0, 30)


class TableMachine(RuleBasedStateMachine):
    """The simulated world with every choice made by Hypothesis, which shortens what fails."""

    @initialize(seed=st.sampled_from([0, 3]))
    def begin(self, seed: int) -> None:
        self.world = World(seed)  # 0 with room for all, 3 with room for one
        self.world.faults = False
        self.epochs = dict.fromkeys(self.world.ids, 0)

    @rule(id=IDS, asked=st.booleans())
    def event_arrives(self, id: str, asked: bool) -> None:
        self.world.pending[id] += 1
        if asked:
            self.world.apply(self.world.table.ensure([id], now=self.world.now))

    @precondition(lambda self: self.world.workers)
    @rule(which=WHICH, what=st.sampled_from(["work", "die", "freeze"]))
    def worker_acts(self, which: int, what: str) -> None:
        worker = self.world.workers[which % len(self.world.workers)]
        if what == "work":
            self.world.work(worker)
        elif what == "die" and worker.alive:
            self.world.die(worker)
        elif what == "freeze":
            worker.frozen = True

    @precondition(lambda self: self.world.network)
    @rule(which=WHICH, fate=st.sampled_from(["arrives", "arrives twice", "is lost"]))
    def message(self, which: int, fate: str) -> None:
        call = self.world.network.pop(which % len(self.world.network))
        if fate != "is lost":
            self.world.apply(call())
        if fate == "arrives twice":
            self.world.network.append(call)

    @rule(id=IDS, seconds=st.floats(0.0, 60.0))
    def vendor_is_in_an_outage(self, id: str, seconds: float) -> None:
        if id in self.world.ids:
            self.world.outage_until[id] = self.world.now + seconds

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.floats(0.0, 100.0))
    def supervisor_is_stopped(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(id=IDS, choice=st.integers(0, 6))
    def operator_acts(self, id: str, choice: int) -> None:
        self.world.operate(id, choice)

    @invariant()
    def statuses_are_true_to_themselves(self) -> None:
        for id in self.world.ids if hasattr(self, "world") else ():
            status = self.world.table.status(id)
            assert status.epoch >= self.epochs[id]
            assert status.loaded == (status.state is State.LOADED)
            assert status.loading == (status.state is State.LOADING)
            assert (id in self.world.paused) == (status.state is State.PAUSED) or status.state is State.DRAINING
            assert status.next_attempt_at is None or status.error is not None
            self.epochs[id] = status.epoch

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.heal()
            self.world.drain()


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

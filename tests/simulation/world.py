"""One run: a system made from a seed, a phase with faults, and a phase in which everything must arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, DestinationConfig, OnUndecided, Requirement, SupervisorConfig
from sluicegate.consent.regulation import Kind
from sluicegate.delivery.breaker import OPEN_CAP_S
from sluicegate.loading.status import State
from tests.simulation.client import YES, Clients
from tests.simulation.clock import Clock, Trace, Violation
from tests.simulation.consent import People
from tests.simulation.destination import DestinationProcess
from tests.simulation.endings import Ledger
from tests.simulation.erasing import Erasing
from tests.simulation.eventlog import Gateway, ModelLog
from tests.simulation.faults import PEOPLE, Fault, Swarm
from tests.simulation.ledger import ModelLedger
from tests.simulation.oracle import JITTER_FLOOR, Oracle
from tests.simulation.router import Router
from tests.simulation.site import Site
from tests.simulation.storefile import StoreFile
from tests.simulation.supervisor import Supervisor
from tests.simulation.vendor import Vendor
from tests.simulation.virtual import EPOCH_MS, GIVE_UP_AFTER_S, virtual

FAULT_STEPS = 500
"""The phase with faults ends after so many steps at the latest."""
HEAL_LIMIT_S = 900.0
"""Within so much time after the last fault all must have ended: a lane may wait 300 s by its own backoff."""
BLAME_LIMIT_S = 3_600.0
"""The same where an event must be found out and buried: eight attempts, or four deaths and a quarantine."""
FRESH_LIMIT_S = 60.0
"""A fresh event then makes its way within so much time."""
RACE_LIMIT_S = 5.0
DRAIN_LIMIT_S = 30.0
IDS = ("a", "b", "c", "d")
REQUIREMENTS = (("necessary",), ("analytics",), ("analytics",), ("marketing",), ("analytics", "marketing"))


@dataclass(frozen=True, slots=True)
class Result:
    """What one run was made of."""

    seed: int
    n_steps: int
    virtual_s: float
    fired: Counter[Fault]
    seen: Counter[str]
    trace: list[str]


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.trace = Trace(on=trace)
        self.clock = Clock(random, self.trace)
        self.swarm = Swarm(random)
        self.consent_config = self._consent_config()
        self.hold_ms = int(self.consent_config.hold_ttl_s * 1000) if self._holds else None
        self.n_at_a_time = random.choice((1, 2, 5, 1_000_000))
        self.ever_active = self.swarm.active
        self.give_up_after_s = GIVE_UP_AFTER_S
        self.oracle = Oracle(self)
        self.log = ModelLog(self)
        self.gateway = Gateway(self)
        self.consent = ModelLedger()
        self.people = People(self)
        self.supervisor_config = SupervisorConfig(
            idle_ttl_s=random.choice((0.0, 0.5, 2.0, 20.0)),
            max_loaded=random.choice((1, 2, 4)),
            spawn_timeout_s=random.choice((4.0, 30.0)),
            retry_delay_s=1.0,
            retry_cap_s=random.choice((8.0, 30.0)),
            max_retries=2,
            stall_timeout_s=random.choice((15.0, 60.0)),
        )
        self.pauses: dict[str, str] = {}
        self.processes: list[DestinationProcess] = []
        self.sites: dict[str, Site] = {}
        for id in IDS[: random.choice((1, 2, 2, 3, 4))]:
            self._add_site(id)
        self.supervisor = Supervisor(self)
        self.router = Router(self)
        self.erasing = Erasing(self)
        self.clients = Clients(self)
        self.subjects = self.clients.subjects

    @property
    def _holds(self) -> bool:
        return self.consent_config.on_undecided is OnUndecided.HOLD

    def _consent_config(self) -> ConsentConfig:
        random = self.random
        if random.random() < 0.4:
            return ConsentConfig(on_undecided=OnUndecided.DROP)
        if random.random() < 0.8:  # most are asked, and answer some time
            self.swarm.invite(Fault.CONSENT_GIVEN, share=random.choice((2, 10)))
        if random.random() < 0.4:
            self.swarm.invite(Fault.CONSENT_WITHDRAWN, share=random.choice((1, 4)))
        return ConsentConfig(
            on_undecided=OnUndecided.HOLD,
            hold_ttl_s=random.choice((2.0, 8.0, 30.0)),
            hold_max=random.choice((1, 3, 200)),
            hold_total=random.choice((4, 20, 1_000)),
        )

    def _add_site(self, id: str) -> None:
        random = self.random
        config = DestinationConfig(
            id,
            "sim",
            Requirement(random.choice(REQUIREMENTS)),
            events=random.choice(((), (), (), ("track",), ("page", "track"))),
        )
        limits = Limits(
            max_events=random.choice((1, 2, 4, 8)),
            max_bytes=random.choice((150, 500, 10_000)),
            in_flight=random.choice((1, 1, 2, 3)),
        )
        self.oracle.ledgers[id] = Ledger()
        self.sites[id] = Site(config, limits, StoreFile(id, 0, self.oracle), Vendor(self, id))

    # What others use

    def now_ms(self) -> int:
        """The time of day."""
        return EPOCH_MS + int(self.clock.now * 1000)

    def jitter(self) -> float:
        """A random number for backoffs, never so small that a missing backoff could hide behind it."""
        return JITTER_FLOOR + (1.0 - JITTER_FLOOR) * self.random.random()

    def send(self, what: str, deliver: Callable[[], object]) -> None:
        """A message between actors."""
        chance, random = self.swarm.chance, self.random
        if chance(Fault.MESSAGE_LOST):
            self.trace.say(self.clock.now, f"LOST {what}")
            return
        for _ in range(2 if chance(Fault.MESSAGE_DOUBLED) else 1):
            delay_s = random.uniform(0.0003, 0.003)
            if chance(Fault.MESSAGE_DELAYED):
                delay_s = random.uniform(0.05, 8.0)
            self.clock.after(delay_s, what, deliver)

    def ring(self) -> None:
        """The bell: whoever waits for the log may look again."""
        hearers = [process.hear_bell for process in self.processes if process.alive]
        for hear in (*hearers, self.router.hear_bell):
            if not self.swarm.chance(Fault.BELL_LOST):
                self.clock.after(self.random.uniform(0.0001, 0.001), "", hear)

    # Faults out of the blue, and operators

    def _out_of_the_blue(self) -> None:
        if self.swarm.blue:
            kind = self.random.choice(self.swarm.blue)
            if self._do_fault(kind):
                self.swarm.fired[kind] += 1
                self.trace.say(self.clock.now, f"FAULT {kind}")
            self.clock.after(self.random.expovariate(1.0 / self.swarm.blue_period_s), "", self._out_of_the_blue)

    def _do_fault(self, kind: Fault) -> bool:
        random = self.random
        match kind:
            case Fault.PROCESS_CRASH | Fault.PROCESS_FREEZE:
                alive = [process for process in self.processes if process.alive]
                if not alive:
                    return False
                victim = random.choice(alive)
                victim.die() if kind is Fault.PROCESS_CRASH else victim.freeze(random.uniform(1.0, 90.0))
            case Fault.SUPERVISOR_CRASH:
                return self._crash_supervisor()
            case Fault.SUPERVISOR_FREEZE:
                self.supervisor.freeze(random.uniform(1.0, 30.0))
            case Fault.ROUTER_CRASH:
                self.router.alive = False
                self.router = Router(self)
                self.erasing = Erasing(self)
            case Fault.GATEWAY_CRASH:
                self.gateway.crash()
                self.people.crash()
            case Fault.POWER_CUT:
                return self._cut_power()
            case Fault.CLOCK_LEAP:
                self.clock.leap(random.choice((60.0, 600.0, 3_600.0)))
            case _:
                return self._outgrow()
        return True

    def _crash_supervisor(self) -> bool:
        if not self.supervisor.alive:
            return False
        self.supervisor.alive = False
        for process in self.processes:
            if process.alive:  # nobody looks after it any more; it finds out sooner or later
                self.clock.after(self.random.choice((0.05, 1.0, 20.0)) * self.random.random(), "", process.die)
        self.clock.after(self.random.uniform(0.1, 1.0), "supervisor: starts again", self._new_supervisor)
        return True

    def _new_supervisor(self) -> None:
        if not self.supervisor.alive:
            self.supervisor = Supervisor(self)
            self.router.introduce()
            for ledger in self.oracle.ledgers.values():
                ledger.failed_at = None  # it does not know of failures before its time

    def _cut_power(self) -> bool:
        for process in self.processes:
            process.alive = False
        self.supervisor.alive = self.router.alive = False
        self.gateway.crash()
        self.people.crash()
        self.log.cut()
        self.oracle.cut(self.log.head())
        for site in self.sites.values():
            site.store.cut(self.random.randrange)
            if self.random.random() < 0.5:
                site.flight.close()
        self.clock.after(self.random.uniform(0.5, 3.0), "power is back", self._power_on)
        return True

    def _power_on(self) -> None:
        self._new_supervisor()
        if not self.router.alive:
            self.router = Router(self)
            self.erasing = Erasing(self)

    def _outgrow(self) -> bool:
        tail = self.log.tail()
        if self.log.trim(self.random.randrange(tail, self.log.head() + 2)):
            self.oracle.was_trimmed(tail, self.log.tail())
            return True
        return False

    def _operator(self) -> None:
        if self.swarm.operators:
            kind, id = self.random.choice(self.swarm.operators), self.random.choice(list(self.sites))
            self.trace.say(self.clock.now, f"OPERATOR {kind} {id}")
            self.swarm.fired[kind] += 1
            if kind is Fault.REPLAY:
                self._replay(id)
            elif kind is Fault.LOAD_BATCH:
                self.supervisor.load_batch(tuple(self.sites))
            else:
                self.supervisor.operate(kind, id)
            self.clock.after(self.random.expovariate(1.0 / self.swarm.operator_period_s), "", self._operator)

    def _person(self) -> None:
        if self.swarm.people:
            kind = self.random.choice(self.swarm.people)
            self.swarm.fired[kind] += 1
            match kind:
                case Fault.ERASED:
                    self.people.regulate(Kind.DELETE_ONLY)
                case Fault.SUPPRESSED:
                    self.people.regulate(self.random.choice((Kind.SUPPRESS_ONLY, Kind.SUPPRESS_WITH_DELETE)))
                case Fault.UNSUPPRESSED:
                    self.people.regulate(Kind.UNSUPPRESS)
                case _:
                    self.people.decide(granted=kind is Fault.CONSENT_GIVEN)
            self.clock.after(self.random.expovariate(1.0 / self.swarm.people_period_s), "", self._person)

    def _replay(self, id: str) -> None:
        site = self.sites[id]
        if self.random.random() < 0.5:
            site.vendor.fix()
        if site.store.mark_replay():
            self.supervisor.load_batch((id,))

    # Phases

    def run(self) -> Result:
        """Both phases; raises `Violation` at the step that breaks a rule."""
        with virtual(self):
            self._misbehave()
            self._heal()
            self._until(self._settled, self._heal_limit_s(), "not everything has ended")
            self.clients.end_trickle()
            self._fresh()
            self._race()
            self.oracle.finish()
            if self.random.random() < 0.2:
                self.supervisor.drain()
                self._until(lambda: self.supervisor.drained, DRAIN_LIMIT_S, "the drain does not end")
        return Result(
            self.seed, self.clock.n_steps, self.clock.now, self.swarm.fired, self.oracle.seen, self.trace.lines
        )

    def _misbehave(self) -> None:
        self.clock.after(0.0, "", self.clients.send)
        self.clock.after(self.random.random() * self.swarm.blue_period_s, "", self._out_of_the_blue)
        self.clock.after(self.random.random() * self.swarm.operator_period_s, "", self._operator)
        self.clock.after(self.random.random() * self.swarm.people_period_s, "", self._person)
        end = self.clock.now + self.random.uniform(2.0, 60.0)
        while self.clock.now < end and self.clock.n_steps < FAULT_STEPS:
            self.clock.step()

    def _heal(self) -> None:
        self.trace.say(self.clock.now, "ALL FAULTS END")
        self.clients.stop()
        self.swarm.heal()
        for process in self.processes:
            process.thaw()
        self.supervisor.thaw()
        if any(site.vendor.sick for site in self.sites.values()):
            self.clients.trickle()

    def _heal_limit_s(self) -> float:
        blamed = any(site.vendor.sick or site.vendor.deadly for site in self.sites.values())
        return BLAME_LIMIT_S if blamed else HEAL_LIMIT_S

    def _settled(self) -> bool:
        if not (self.supervisor.alive and self.router.alive and self.gateway.idle):
            return False
        head = self.log.head()
        stores = [site.store for site in self.sites.values()]
        for store in stores:
            if store.content.cursor != head or store.content.held.rows or store.replays():
                return False
        return not (self.supervisor.open_requests or self.consent.regulations())

    def _fresh(self) -> None:
        event = self.clients.event(YES, "newcomer")
        self.gateway.submit([event])
        waiting = [id for id, site in self.sites.items() if not site.config.events or "track" in site.config.events]

        def arrived() -> bool:
            offset = self.oracle.offset_of.get(event.message_id)
            return all(offset in self.oracle.ledgers[id].taken for id in waiting)

        limit_s = FRESH_LIMIT_S
        if Fault.EXIT_LOST in self.ever_active:  # an end that nobody heard of shows only by silence
            limit_s += self.supervisor_config.stall_timeout_s
        if not self.ever_active.isdisjoint((*PEOPLE, Fault.EVENT_SICK)):  # all has ended, but the vendor is left alone
            limit_s += OPEN_CAP_S
        limit_s += max(site.store.restrained_s(self.clock.now) for site in self.sites.values())
        self._until(arrived, limit_s, "a fresh event does not arrive")
        self._until(self._settled, FRESH_LIMIT_S, "a fresh event is not settled")

    def _race(self) -> None:
        """Whoever asks for a destination at the moment in which it rests gets it."""
        limit = self.clock.now + RACE_LIMIT_S
        while self.clock.now < limit:
            resting = [id for id in self.sites if self.supervisor.table.status(id).state is State.DRAINING]
            if resting:
                return self._ask_for(resting[0])
            self.clock.step()
        return None

    def _ask_for(self, id: str) -> None:
        request, answers = self.supervisor.load_batch((id,)), self.supervisor.answers
        self._until(lambda: request in answers, HEAL_LIMIT_S, "a request is not answered")
        if answers[request][id] is not None:
            raise Violation(f"a wish at the last moment is lost: {answers[request]}")
        self.oracle.seen["wish at the last moment"] += 1

    def _until(self, reached: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        limit = self.clock.now + limit_s
        while not reached():
            for id in list(self.pauses):  # refused credentials are an operator's business, and are theirs to end
                self.supervisor.operate(Fault.RESUME, id)
            if not self.clock.step() or self.clock.now > limit:
                head = self.log.head()
                stores = {id: site.store.content for id, site in self.sites.items()}
                cursors = {id: content.cursor for id, content in stores.items()}
                held = {id: content.held.rows for id, content in stores.items() if content.held.rows}
                states = {id: str(self.supervisor.table.status(id).state) for id in self.sites}
                where = f"head {head}, cursors {cursors}, {states}, held {held}"
                raise Violation(f"{otherwise} within {limit_s:g} s: {where}")


def run(seed: int, *, trace: bool = False) -> Result:
    """The run of one seed."""
    return World(seed, trace=trace).run()

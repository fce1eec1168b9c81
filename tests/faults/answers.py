"""F32, F34, F44: receivers that refuse single events or lie, and destinations that go to rest while events come. The
system is as it is by default: what nobody has decided is held."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sluicegate.messages.status import DestinationStatus
from tests.end_to_end.harness import poll
from tests.faults import evidence
from tests.faults.checker import Checker
from tests.faults.events import SUBJECTS_PER_CONNECTION
from tests.faults.layout import ADS, ARCHIVE, CRM, SUPERVISOR
from tests.faults.receiver import LIES
from tests.faults.scenario import Run, fault
from tests.faults.stops import quick

LATE_S = 1.5
"""When a late answer comes: after the destination has stopped waiting for it."""
IDLE_S = 0.3
RESTING = f"""{SUPERVISOR}idle_ttl = "{IDLE_S:g}s"
"""


@fault("F32", "receivers refuse one event of a hundred; what nobody decided is held, granted, or given up")
def refused(run: Run) -> None:
    be_particular(run)
    run.start()
    run.oracle.run()
    run.oracle.more(run.pick(400, 4_000))
    run.fired("422")
    run.grant(undecided(1), "measurement")
    run.oracle.more(run.pick(200, 1_000))
    run.kill("destination crm")
    run.oracle.more(run.pick(200, 1_000))
    run.settle()
    checker = run.check()
    show_letters(run, checker)
    show_holds(run, checker)


@fault("F34", "a receiver lies: it takes nothing, answers late, endlessly, half, or nonsense")
def lied_to(run: Run) -> None:
    run.start(run.config(SUPERVISOR, ARCHIVE, quick(CRM), ADS))
    run.oracle.run()
    run.baseline()
    run.crm.set("crm", "lie", delay_s=LATE_S)
    run.fired("lies")
    run.oracle.more(run.pick(200, 3_000))
    poll("each lie to be told", lambda: {entry.get("lie", "") for entry in run.crm.entries()} >= set(LIES))
    run.crm.set("crm", "ok")
    run.settle()
    run.check(duplicates=True, healthy="ads")


@fault("F44", "destinations go to rest at the moment in which events come")
def resting(run: Run) -> None:
    be_particular(run)
    run.start(run.config(RESTING, ARCHIVE, CRM, ADS))
    n_rests = 0
    for n_pulse in range(run.pick(6, 60)):
        run.oracle.run()
        run.oracle.more(40)
        run.oracle.finish()
        if n_pulse % 3 == 0:
            run.status("all to rest", lambda now: all(at_rest(one) for one in now.values()))
            n_rests += 1
        else:
            time.sleep(run.draw.uniform(0.5 * IDLE_S, 2.5 * IDLE_S))
    run.fired(f"all were at rest {n_rests} times")
    run.oracle.run()
    run.settle()
    checker = run.check()
    for name, store in checker.stores.items():
        assert store is not None and store.epoch > n_rests, f"vacuous: {name} was started {store} times"
        run.record.figures[f"{name}_starts"] = store.epoch


def be_particular(run: Run) -> None:
    """As by default, and with receivers that refuse one of a hundred events."""
    run.holds = True
    run.particular = {"crm", "ads"}
    for receiver, name in ((run.crm, "crm"), (run.ads, "ads")):
        receiver.set(name, "particular")


def undecided(connection: int) -> Iterable[str]:
    """The subjects of one of the oracle's connections that say nothing about being measured."""
    return [f"c{connection}-{n}-o{marketing}" for n in range(SUBJECTS_PER_CONNECTION) for marketing in ("y", "n", "o")]


def at_rest(status: DestinationStatus) -> bool:
    """Whether nothing waits and no process runs."""
    return not (status.loaded or status.loading or status.pending)


def show_letters(run: Run, checker: Checker) -> None:
    """There were dead letters, and they tell what the receiver said, without the secrets in it."""
    said = [text for name in run.particular for text in evidence.responses(checker.data_dir, name)]
    assert said, "vacuous: no event was refused"
    assert all(text.startswith("no to ") and "canary" not in text for text in said), said[:3]
    run.record.figures["dead_letters"] = len(said)


def show_holds(run: Run, checker: Checker) -> None:
    """Events were held, some until they were granted and some in vain."""
    store, rule = checker.stores["crm"], run.rules["crm"]
    assert store is not None
    n_granted = sum(bool(rule.undecided(id_)) for id_ in checker.first["crm"])
    assert n_granted, "vacuous: nothing came that had been undecided"
    assert store.denied.get("hold_expired"), f"vacuous: nothing was held in vain: {store}"
    run.record.figures |= {"held_and_granted": n_granted, "hold_expired": store.denied["hold_expired"]}

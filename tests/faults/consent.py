"""F37, F38: what may not be delivered is not even tried, wherever it waits and whatever ends meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.faults import evidence, signals
from tests.faults.checker import Checker
from tests.faults.events import SUBJECTS_PER_CONNECTION, subject_of
from tests.faults.layout import CRM, SUPERVISOR
from tests.faults.scenario import Run, fault

PURPOSE = "measurement"
SLOW_S = 0.3


def subjects(connection: int) -> list[str]:
    """Half of the subjects of one of the oracle's connections, those that agree to be measured."""
    return [
        f"c{connection}-{n}-y{marketing}" for n in range(0, SUBJECTS_PER_CONNECTION, 2) for marketing in ("y", "n", "o")
    ]


@fault("F37", "consent withdrawn for events that are queued, in retry backoff and while the actor starts")
def denied_while_waiting(run: Run) -> None:
    run.crm.set("crm", "status", status=429)  # no failure to the circuit breaker, which would stay open over restarts
    run.start()
    run.oracle.run()
    run.oracle.more(run.pick(100, 1_000))
    run.status("crm to be in backoff", lambda now: now["crm"].error)
    run.withdraw(subjects(1), PURPOSE)
    run.kill("destination crm")
    run.withdraw(subjects(2), PURPOSE)
    run.status("crm to start again", lambda now: now["crm"].epoch > 1)
    run.oracle.more(run.pick(50, 500))
    run.withdraw(subjects(3), PURPOSE)
    with run.down():
        signals.kill(run.parts())
        run.fired("SIGKILL of all processes after the answer")
        run.system.wait()
        killed_at = time.time()
        run.crm.set("crm", "ok")
        run.system.start()
    run.settle()
    show_denials(run, run.check(), [*subjects(1), *subjects(2), *subjects(3)], after=killed_at)


@fault("F38", "consent withdrawn for some events of a batch, and for those in flight when the process ends")
def denied_within_batch(run: Run) -> None:
    run.crm.set("crm", "slow", delay_s=SLOW_S)
    run.start(run.config(SUPERVISOR, CRM))
    run.rules = {"crm": run.rules["crm"]}
    run.oracle.run(connections=8)
    run.oracle.more(run.pick(100, 1_000))
    withdrawn = [*subjects(1), *subjects(2), *subjects(3), *subjects(4)]
    answer = run.withdraw(withdrawn, PURPOSE)
    run.record.figures["in_flight"] = sum(answer["inFlight"].values())
    run.kill("destination crm")
    killed_at = time.time()
    run.oracle.more(run.pick(50, 500))
    run.crm.set("crm", "ok")
    run.settle()
    # What the receiver had begun to read before it is noted when its answer is due.
    show_denials(run, run.check(), withdrawn, after=killed_at + 2 * SLOW_S)


def show_denials(run: Run, checker: Checker, withdrawn: Iterable[str], *, after: float) -> None:
    """Nothing of these subjects was tried after this time (Unix), and something was to be held back."""
    later = (entry for entry in run.crm.entries() if entry["t"] > after)
    tried = {id_ for id_ in evidence.attempted_at(later, "crm") if subject_of(id_) in set(withdrawn)}
    assert not tried, f"I3: tried after the withdrawal was answered: {sorted(tried)[:5]}"
    store = checker.stores["crm"]
    assert store is not None and store.denied.get("withdrawn", 0) > 0, (
        f"vacuous: nothing was withdrawn in time: {store}"
    )
    n_tried = len(evidence.attempted_at(run.crm.entries(), "crm"))
    run.record.figures["never_tried"] = len(checker.log) - n_tried
    run.record.figures["withdrawn_in_time"] = store.denied["withdrawn"]

"""F37, F38: what may not be delivered is not even tried, wherever it waits.

Consent is on the events; that it can be taken back later is tried where the version can do that.
"""

from __future__ import annotations

from tests.faults import evidence
from tests.faults.features import KEEPS_CONSENT
from tests.faults.scenario import CRM, SUPERVISOR, Run, fault

LEDGER = "taking consent back after an event was accepted: this version knows only what stands on the event"


@fault("F37", "events without consent, queued, in retry backoff and while the actor starts")
def denied_while_waiting(run: Run) -> None:
    run.crm.set("crm", "status", status=503)
    run.start()
    run.oracle.run()
    run.oracle.more(run.pick(100, 1_000))
    run.status("crm to be in backoff", lambda now: now["crm"].error)
    run.fired("in retry backoff")
    run.kill("destination crm")
    run.oracle.more(run.pick(50, 500))
    run.status("crm to start again", lambda now: now["crm"].epoch > 1)
    run.crm.set("crm", "ok")
    run.settle()
    checker = run.check()
    show_denials(run, len(evidence.attempted_at(run.crm.entries(), "crm")), len(checker.log))


@fault("F38", "events with and without consent in one batch, and in flight when the process ends")
def denied_within_batch(run: Run) -> None:
    run.crm.set("crm", "slow", delay_s=0.3)
    run.start(run.config(SUPERVISOR, CRM))
    run.rules = {"crm": run.rules["crm"]}
    run.oracle.run(connections=8)
    run.oracle.more(run.pick(100, 1_000))
    run.kill("destination crm")
    run.fired("in flight")
    run.crm.set("crm", "ok")
    run.settle()
    checker = run.check()
    show_denials(run, len(evidence.attempted_at(run.crm.entries(), "crm")), len(checker.log))


def show_denials(run: Run, n_tried: int, n_stored: int) -> None:
    """Note how many events were held back, and what could not be tried."""
    assert n_tried < n_stored, "vacuous: nothing was denied"
    run.record.figures["never_tried"] = n_stored - n_tried
    if not KEEPS_CONSENT:
        run.skip(LEDGER)

"""F09, F10, F11, F23, F52: processes that stand still and go on."""

from __future__ import annotations

import time
from typing import Any

from tests.faults import signals
from tests.faults.judging import quantile
from tests.faults.layout import ADS, ARCHIVE, CRM
from tests.faults.scenario import Run, fault
from tests.faults.signals import Part

STATUS_S = 0.15
"""The median of answers while a destination stands still: three times what is specified, on a machine that is busy."""
WATCHDOG = """
[supervisor]
retry_delay = "100ms"
retry_cap = "2s"
stall_timeout = "2s"
"""


RETRIES_AT_ONCE = 16
"""As many as there may be calls at a time, and one more of each, whatever has become due meanwhile."""


def quick(section: str) -> str:
    """A destination whose calls may take a second, which is less than the watchdog's time."""
    return section + 'timeout = "1s"\n'


@fault("F09", "SIGSTOP of a destination for longer than the watchdog waits")
def destination_stopped(run: Run) -> None:
    run.start(run.config(WATCHDOG, quick(ARCHIVE), quick(CRM), quick(ADS)))
    run.oracle.run()
    run.baseline()
    before = run.status("crm to be loaded", lambda now: now["crm"].loaded and now["crm"])
    crm = run.part("destination crm")
    stopped_at = time.monotonic()
    with signals.stopped([crm]):
        run.fired("SIGSTOP destination crm")
        run.status("crm to be replaced", lambda now: now["crm"].loaded and now["crm"].epoch > before.epoch)
        run.record.figures["replaced_s"] = round(time.monotonic() - stopped_at, 3)
        assert not crm.alive, "the stopped process is still there beside its successor"
        stay(stopped_at, run.pick(0, 60))
    stopped_until = time.monotonic()
    run.settle()
    run.check(healthy="ads")
    answers = [took_s for began, took_s in run.watcher.answers if stopped_at < began < stopped_until]
    run.bound("status_while_stopped_median_s", quantile(sorted(answers), 0.5), STATUS_S)


@fault("F10", "SIGSTOP of the supervisor")
def supervisor_stopped(run: Run) -> None:
    run.start()
    run.oracle.run()
    run.baseline()
    began = time.monotonic()
    with run.stopped([run.part("supervisor")]):
        run.fired("SIGSTOP supervisor")
        run.oracle.more(run.pick(200, 3_000))
        stay(began, run.pick(1, 30))
    run.settle()
    run.check(healthy="ads")


@fault("F11", "SIGSTOP of the gateway")
def gateway_stopped(run: Run) -> None:
    run.start()
    run.oracle.run(timeout_s=0.5)
    run.oracle.more(100)
    gateway = run.part("gateway")
    with run.stopped([gateway], "metrics"):
        began = time.time()
        run.fired("SIGSTOP gateway")
        failed = run.oracle.counts["failed"]
        stay(time.monotonic(), run.pick(2, 10))
        assert run.oracle.counts["failed"] > failed, "vacuous: no client has timed out"
        ended = time.time()
    run.settle()
    checker = run.check()
    grace_s = 0.1  # an answer that was in the socket already is a promise that was kept
    early = [at for at in checker.issued.acked.values() if began + grace_s < at < ended]
    assert not early, f"{len(early)} events were acknowledged by a process that stood still"


@fault("F23", "everything stands still, as in a paused virtual machine")
def everything_stopped(run: Run) -> None:
    run.crm.set("crm", "status", status=429)  # no failure to the circuit breaker, which would stay open for a minute
    run.start()
    run.oracle.run(timeout_s=1)
    run.oracle.more(100)
    run.status("crm to be in backoff", lambda now: now["crm"].error)
    seen = {entry["key"] for entry in tries(run)}
    n_before = attempts(run)
    parts = run.parts()
    with run.stopped(parts):
        run.fired("SIGSTOP of all processes")
        stay(time.monotonic(), run.pick(2, 20))
    woken_at = time.time()
    run.oracle.more(100)
    again = [entry for entry in tries(run) if woken_at <= entry["t"] < woken_at + 1 and entry["key"] in seen]
    run.record.figures["attempts_within_1s"] = sum(woken_at <= at < woken_at + 1 for at in attempted(run))
    run.record.figures["attempts_before"] = n_before
    run.crm.set("crm", "ok")
    run.settle()
    run.check()
    run.bound("retries_within_1s", len(again), RETRIES_AT_ONCE)


@fault("F52", "parts are stopped one by one at random, and released in another order")
def swizzled(run: Run) -> None:
    run.start(run.config(WATCHDOG, quick(ARCHIVE), quick(CRM), quick(ADS)))
    run.oracle.run(timeout_s=1)
    for _ in range(run.pick(2, 8)):
        run.oracle.more(60, timeout_s=120)
        with run.down():
            swizzle(run)
    run.settle()
    run.check()


def swizzle(run: Run) -> None:
    """One round: stop some, a moment apart; let them go in another order."""
    roles = ["gateway", "supervisor", "router", "actor system", "destination archive", "destination crm"]
    here = {part.role: part for part in run.parts()}
    sinks = {"sink crm": sink(run.crm.process.pid), "sink ads": sink(run.ads.process.pid)}
    candidates = [here[role] for role in roles if role in here] + list(sinks.values())
    chosen = run.draw.sample(candidates, run.draw.randint(2, len(candidates) - 1))
    stopped: list[Part] = []
    try:
        for part in chosen:
            time.sleep(run.draw.uniform(0, 0.3))
            if part.alive:
                signals.stop([part])
                stopped.append(part)
                run.fired(f"SIGSTOP {part.role}")
        time.sleep(run.draw.uniform(0, run.pick(1, 4)))
    finally:
        run.draw.shuffle(stopped)
        for part in stopped:
            time.sleep(run.draw.uniform(0, 0.3))
            signals.resume([part])


def sink(pid: int) -> Part:
    """A receiver's process."""
    part = signals.read_part(pid)
    assert part is not None
    return part


def stay(since: float, duration_s: float) -> None:
    """Wait until a fault has lasted for so long."""
    time.sleep(max(0.0, since + duration_s - time.monotonic()))


def tries(run: Run) -> list[dict[str, Any]]:
    """What was sent to crm, in order."""
    return [entry for entry in run.crm.entries() if entry["to"] == "crm"]


def attempted(run: Run) -> list[float]:
    """When crm was tried, in order."""
    return [entry["t"] for entry in tries(run)]


def attempts(run: Run) -> int:
    """How often crm has been tried so far."""
    return len(attempted(run))

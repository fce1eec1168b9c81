"""F26, F27, F28, F31: receivers that break off, cannot be reached, are slow, or are down for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sluicegate.delivery.breaker import OPEN_CAP_S
from sluicegate.delivery.budget import CAPACITY, TRANSIENT_COST
from tests.end_to_end.harness import poll
from tests.faults.layout import ADS, ARCHIVE, CRM, SUPERVISOR
from tests.faults.proxy import BlackHole, Fault, Proxy
from tests.faults.scenario import DRAIN_S, Run, fault
from tests.faults.stops import quick, stay, tries

RETRIES_AT_ONCE = int(CAPACITY // TRANSIENT_COST) + 1
"""What the whole budget pays for, and what it gets back within a second."""


def through(run: Run, *sections: str) -> Proxy:
    """Start the system with a proxy between it and crm."""
    proxy = Proxy(run.crm.port)
    run.adopt(proxy.close)
    run.start(run.config(SUPERVISOR, *sections, crm_port=proxy.port))
    return proxy


@fault("F26", "a receiver's connection is reset in mid-request and in mid-response")
def reset(run: Run) -> None:
    proxy = through(run, ARCHIVE, CRM, ADS)
    run.oracle.run()
    run.baseline()
    for of_response, after_bytes in ((False, run.draw.randint(1, 3_000)), (True, run.draw.randint(0, 60))):
        run.oracle.more(run.pick(40, 300))
        before = proxy.n_fired
        # Twice, so that the circuit breaker, which looks at ten calls, stays closed.
        proxy.fault = Fault(reset_after_bytes=after_bytes, of_response=of_response, n_resets=2)
        proxy.cut()
        poll("crm's calls to break off", lambda n=before: proxy.n_fired >= n + 2)  # type: ignore[misc]
        run.fired(f"reset after {after_bytes} bytes of the {'response' if of_response else 'request'}")
        proxy.fault = Fault()
    run.settle()
    run.check(duplicates=True, healthy="ads")
    once_more = {key for key, n in keys(run).items() if n > 1}
    assert once_more, "what was taken and not confirmed did not come again under the same key"


@fault("F27", "a receiver cannot be reached: connecting gets no answer")
def black_hole(run: Run) -> None:
    proxy = through(run, ARCHIVE, CRM, ADS)
    run.oracle.run()
    run.baseline()
    proxy.close()
    hole = BlackHole(proxy.port)
    run.adopt(hole.close)
    began = time.monotonic()
    run.fired("no answer to a connection")
    run.status("crm to fail", lambda now: now["crm"].error)
    run.record.figures["failure_seen_s"] = round(time.monotonic() - began, 3)
    stay(began, run.pick(0, 30))
    hole.close()
    run.adopt(Proxy(run.crm.port, listen=hole.port).close)
    run.settle()
    run.check(healthy="ads")


@fault("F28", "a receiver answers a byte at a time")
def trickle(run: Run) -> None:
    proxy = through(run, ARCHIVE, quick(CRM), ADS)
    run.oracle.run()
    run.baseline()
    proxy.fault = Fault(answer_bytes_per_s=20)
    proxy.cut()
    began = time.monotonic()
    run.fired("20 bytes a second")
    run.status("crm to fail", lambda now: proxy.n_fired and now["crm"].error)
    run.record.figures["failure_seen_s"] = round(time.monotonic() - began, 3)
    stay(began, run.pick(0, 20))
    proxy.fault = Fault()
    proxy.cut()
    run.settle()
    run.check(duplicates=True, healthy="ads")


@fault("F31", "a receiver answers 500 and 503 for a while, and heals")
def storm(run: Run) -> None:
    run.start()
    run.oracle.run()
    run.baseline()
    run.crm.set("crm", "status", status=500)
    run.command("unload", "crm")  # the next event starts it, and its circuit breaker has seen no success
    began = time.monotonic()
    run.fired("500")
    # Before it is unloaded some calls may fail already, and what they open its circuit breaker for holds afterwards.
    run.status("crm to fail", lambda now: now["crm"].error or now["crm"].breaker == "open")
    stay(began, run.pick(1.5, 300))
    run.crm.set("crm", "status", status=503)
    run.fired("503")
    run.status("the circuit breaker to open", lambda now: now["crm"].breaker == "open")
    stay(began, run.pick(3, 600))
    in_storm = [entry for entry in tries(run) if entry["outcome"] == "refused"]
    run.record.figures["attempts_in_storm"] = len(in_storm)
    run.record.figures["max_attempts_a_second"] = busiest([entry["t"] for entry in in_storm])
    run.bound("max_retries_a_second", busiest(repeated(in_storm)), RETRIES_AT_ONCE)
    run.crm.set("crm", "ok")
    run.settle(timeout_s=run.pick(DRAIN_S, OPEN_CAP_S + DRAIN_S))
    run.check(healthy="ads")
    assert run.record.duplicates["crm"] == 0, "what was refused came twice"


def repeated(entries: Iterable[Mapping[str, Any]]) -> list[float]:
    """When requests came that had come before, by their key."""
    seen: set[str] = set()
    times = []
    for entry in entries:
        if entry["key"] in seen:
            times.append(entry["t"])
        seen.add(entry["key"])
    return times


def busiest(times: list[float]) -> int:
    """The most within any second."""
    return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)


def keys(run: Run) -> dict[str, int]:
    """How often each request of crm was taken, by its key."""
    found: dict[str, int] = {}
    for entry in run.crm.entries():
        if entry["outcome"] == "taken":
            found[entry["key"]] = found.get(entry["key"], 0) + 1
    return found

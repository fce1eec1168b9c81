"""F01 to F08: processes that are killed, at random and at failpoints."""

from __future__ import annotations

import time
from collections import defaultdict

from tests.faults import signals
from tests.faults.layout import CRM
from tests.faults.scenario import Run, fault

RESTARTS = 4
"""Kills of one part that a launcher takes within a minute without giving up."""
GATEWAY_BACK_S = 2.0
EXIT_SEEN_S = 3.0
"""Three times what is specified, because seeing it takes a poll of the status on a busy machine."""
TREE_BACK_S = 5.0
START_FACTOR, START_SLACK_S = 2.0, 0.5
"""How much more CPU a start may take with a large backlog than with a small one; its time depends on the neighbours."""


@fault("F01", "SIGKILL of the gateway in mid-request")
def gateway_killed(run: Run) -> None:
    run.start()
    run.oracle.run()
    for _ in range(run.pick(3, RESTARTS)):
        run.oracle.more(run.pick(40, 300))
        time.sleep(run.draw.uniform(0, 0.05))
        run.kill("gateway")
    run.settle()
    checker = run.check()
    for killed_at in run.fired_at:
        again_s = checker.acknowledged_after_s(killed_at)
        assert again_s is not None, "nothing was acknowledged after a kill"
        run.bound("gateway_back_s", again_s, GATEWAY_BACK_S)


@fault("F02", "SIGKILL between fsync and response")
def killed_after_commit(run: Run) -> None:
    run.start(environ=run.failpoint(f"after_commit:{run.draw.randint(5, 40)}"))
    run.oracle.run(give_up=0)
    run.await_failpoint("after_commit")
    run.oracle.more(run.pick(60, 1_000))
    run.settle()
    checker = run.check(duplicates=False)
    assert checker.stored_again() == 0, "an event that was sent again within a day is stored twice"


@fault("F03", "SIGKILL between insert and commit")
def killed_before_commit(run: Run) -> None:
    run.start(environ=run.failpoint(f"before_commit:{run.draw.randint(5, 40)}"))
    run.oracle.run(give_up=1)
    run.await_failpoint("before_commit")
    run.oracle.more(run.pick(100, 1_000))
    run.settle()
    checker = run.check()
    failed = [entry["ids"] for entry in run.oracle.entries() if entry["what"] == "failed"]
    assert failed, "vacuous: no request was in hand"
    # A request of the commit before may be in hand too: stored, and its answer still on its way through the loop.
    stored = [set(ids) & set(checker.log) for ids in failed]
    assert not all(stored), "the requests in hand are stored although the process ended before the commit"
    assert all(not found or found == set(ids) for found, ids in zip(stored, failed, strict=True)), "half a request"


@fault("F04", "SIGKILL of a destination in mid-batch")
def destination_killed(run: Run) -> None:
    run.start()
    run.oracle.run()
    run.baseline()
    run.crm.set("crm", "slow", delay_s=0.1)
    for _ in range(run.pick(2, RESTARTS)):
        run.oracle.more(run.pick(60, 300))
        epoch = run.status("crm to be loaded", lambda now: now["crm"].loaded and now["crm"].epoch)
        run.kill("destination crm")
        seen_at = time.monotonic()
        run.status("the exit to be seen", lambda now, e=epoch: now["crm"].epoch > e or not now["crm"].loaded)  # type: ignore[misc]
        run.bound("exit_seen_s", time.monotonic() - seen_at, EXIT_SEEN_S)
    run.crm.set("crm", "ok")
    run.settle()
    run.check(duplicates=True, healthy="ads")


@fault("F05", "SIGKILL after a receiver has taken a batch, before the cursor moves")
def killed_after_post(run: Run) -> None:
    run.start(run.config(CRM), environ=run.failpoint("after_post:1:kill"))
    run.rules = {"crm": run.rules["crm"]}
    run.command("pause", "crm")  # until all are there: what comes later would make the same batch a longer one
    run.oracle.burst(run.pick(120, 400))
    run.command("resume", "crm")
    run.await_failpoint("after_post")
    run.settle(fresh=0)
    checker = run.check(duplicates=True)
    taken = [entry for entry in run.crm.entries() if entry["outcome"] == "taken"]
    assert taken[0]["key"] in [entry["key"] for entry in taken[1:]], "the batch did not come again under its key"
    keys: dict[str, set[str]] = defaultdict(set)
    for entry in taken:
        for id_, *_ in entry["events"]:
            keys[id_].add(entry["key"])
    changed = {id_: own for id_, own in keys.items() if len(own) > 1}
    assert not changed, f"events came again in other batches than before: {changed}"
    run.record.figures["delivered_again"] = checker.duplicates("crm")


@fault("F06", "SIGKILL of the supervisor")
def supervisor_killed(run: Run) -> None:
    run.crm.set("crm", "slow", delay_s=0.05)
    run.start()
    run.oracle.run()
    for _ in range(run.pick(2, RESTARTS)):
        run.oracle.more(run.pick(60, 300))
        run.kill("supervisor")
        killed_at = time.monotonic()
        run.status("the statuses to be back", lambda now: now["crm"].loaded)
        run.bound("status_back_s", time.monotonic() - killed_at, TREE_BACK_S)
    run.crm.set("crm", "ok")
    run.settle()
    run.check()


@fault("F07", "SIGKILL of the actor system's process")
def actor_system_killed(run: Run) -> None:
    run.start()
    run.oracle.run()
    for _ in range(run.pick(1, 3)):
        run.oracle.more(run.pick(100, 300))
        run.kill("actor system")
        killed_at = time.monotonic()
        run.status("the tree to be back", lambda now: now["crm"].loaded)
        run.bound("status_back_s", time.monotonic() - killed_at, TREE_BACK_S)
    run.settle()
    run.check()


@fault("F08", "SIGKILL of everything, again and again")
def everything_killed(run: Run) -> None:
    run.start()
    run.oracle.run()
    small_s = min(start_cpu_s(run) for _ in range(run.pick(3, 20)))
    run.command("pause", "crm")  # and its backlog grows
    run.oracle.run(connections=8, pause_s=0)
    run.oracle.more(run.pick(3_000, 50_000), timeout_s=600)
    run.oracle.finish()
    run.oracle.run()
    large_s = min(start_cpu_s(run) for _ in range(run.pick(2, 5)))
    run.record.figures["start_cpu_s"] = round(small_s, 3)
    run.command("resume", "crm")
    run.settle()
    run.check()
    run.bound("start_with_backlog_cpu_s", large_s, START_FACTOR * small_s + START_SLACK_S)


def start_cpu_s(run: Run) -> float:
    """Kill all of it at some moment, and start it again; how much CPU that took, in seconds."""
    run.oracle.more(run.pick(40, 100))
    time.sleep(run.draw.uniform(0, 0.2))
    with run.down():
        signals.kill(run.parts())
        run.fired("SIGKILL of all processes")
        run.system.wait()
        began = time.monotonic()
        run.system.start()
        took_s = time.monotonic() - began
        run.record.figures["longest_start_s"] = round(max(took_s, run.record.figures.get("longest_start_s", 0)), 3)
        return sum(signals.cpu_s(part.pid) + signals.ended_children_cpu_s(part.pid) for part in run.parts())

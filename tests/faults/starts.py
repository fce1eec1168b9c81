"""F12, F13, F43, F45, F46: failing starts, many starts, ends at awkward moments, changed configurations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from sluicegate.failpoints import Point
from sluicegate.messages.status import DestinationStatus
from tests.faults import plugins, signals
from tests.faults.events import Rule
from tests.faults.layout import ADS, ARCHIVE, CRM, SUPERVISOR
from tests.faults.scenario import Run, fault
from tests.faults.stops import stay

ILL = ("ill_import", "ill_init", "ill_initialize", "ill_test")
LONGEST_WAIT_S = 2.0 + 30.0
"""`retry_cap` of the configuration after a load that took as long as one may."""
EXIT_S = 25.0
TURNS_S = 60.0
"""For a turn of each destination where there is no room for all: twice what is specified, for a busy machine."""
CRASHES_CPU_S = 0.05 * 60
"""What may be spent on processes that end at once: 5 % of the minute in which they may be started again."""
QUARANTINING = """
[supervisor]
retry_delay = "50ms"
retry_cap = "300s"
"""


@fault("F12", "plugins raise on import, in __init__, in initialize and in their test")
def plugins_raise(run: Run) -> None:
    add_files(run, ILL)
    run.start(run.config(SUPERVISOR, ARCHIVE, CRM, plugins.sections(ILL)), environ=plugins.install(run.folder))
    del run.rules["ads"]
    run.oracle.run()
    began = time.monotonic()
    found = run.status("all four to fail", lambda now: now if all_failed(now) else None)
    run.record.figures["errors_seen_s"] = round(time.monotonic() - began, 3)
    for name in ILL:
        what = name.removeprefix("ill_")
        assert f"{what} says no" in found[name].error.replace("__init__", "init"), found[name]
        run.fired(f"{what} raised")
    waits = run.status("waits to be seen", lambda now: [w for n in ILL if (w := wait_of(now[n])) is not None])
    assert all(0 <= wait <= LONGEST_WAIT_S for wait in waits), f"waits beyond the longest: {waits}"
    run.oracle.more(run.pick(100, 1_000))
    run.status("the others to load", lambda now: now["crm"].loaded and now["archive"].loaded)
    plugins.heal(run.folder)
    run.settle()
    run.check()


def all_failed(now: Mapping[str, DestinationStatus]) -> bool:
    """Whether each of the ill ones shows an error."""
    return all(now[name].error for name in ILL)


def wait_of(status: DestinationStatus) -> float | None:
    """How long after its last attempt began one is to be tried again."""
    if status.next_attempt_at is None or status.last_attempt is None:
        return None
    return float(status.next_attempt_at - status.last_attempt)


@fault("F13", "a destination's process ends 10 ms after it began, every time")
def crash_loop(run: Run) -> None:
    add_files(run, ["ill_crash"])
    ill = plugins.sections(["ill_crash"])
    run.start(run.config(QUARANTINING, ARCHIVE, CRM, ill), environ=plugins.install(run.folder))
    del run.rules["ads"]
    run.oracle.run()
    quarantined = run.status("quarantine", lambda now: now["ill_crash"].state == "quarantined" and now["ill_crash"])
    run.fired(f"{quarantined.epoch} processes ended")
    assert quarantined.epoch <= 5, f"{quarantined.epoch} starts before quarantine"
    began, spent_s = time.monotonic(), ended_cpu_s(run)
    run.bound("crashes_cpu_s", spent_s, CRASHES_CPU_S)
    run.oracle.more(100)
    stay(began, run.pick(1, 15))
    later = run.status("its status", lambda now: now["ill_crash"])
    assert later.epoch == quarantined.epoch, "it was started in quarantine"
    share = (ended_cpu_s(run) - spent_s) / (time.monotonic() - began)
    run.bound("quarantine_cpu_share", share, 0.05)
    plugins.heal(run.folder)
    run.command("retry", "ill_crash")
    run.settle()
    run.check()


def ended_cpu_s(run: Run) -> float:
    """The CPU time of all processes of the system that have ended."""
    return sum(signals.ended_children_cpu_s(part.pid) for part in run.parts())


@fault("F43", "1,000 first events at once, and more destinations than may be loaded")
def stampede(run: Run) -> None:
    n_destinations, n_loaded = run.pick((12, 4), (60, 16))
    run.start(run.config(SUPERVISOR, CRM))
    run.oracle.burst(1_000)
    run.fired("1,000 first events at once")
    loaded = run.status("crm to be loaded", lambda now: now["crm"].loaded and now["crm"])
    assert loaded.epoch == 1, f"{loaded.epoch} starts of one destination"
    many = [f"many{n}" for n in range(n_destinations)]
    sections = "".join(ARCHIVE.replace("archive", name) for name in many)
    run.restart(run.config(f"{SUPERVISOR}max_loaded = {n_loaded}\n", sections, CRM))
    run.rules = {"crm": run.rules["crm"]}
    add_files(run, many)
    run.oracle.run(pause_s=0.05)
    run.oracle.more(60)
    began = time.monotonic()
    run.status("a turn for each", lambda now: all(now[name].delivered for name in many), timeout_s=TURNS_S)
    run.record.figures["each_had_a_turn_s"] = round(time.monotonic() - began, 3)
    run.fired(f"{n_destinations} destinations, {n_loaded} places")
    run.settle()
    assert run.record.figures.setdefault("loaded_at_most", run.watcher.max_destinations) <= n_loaded
    run.check()


@fault("F45", "SIGTERM while it commits, spawns, initializes, delivers, waits, checkpoints, drains")
def terminated(run: Run) -> None:
    run.start()
    run.oracle.run(give_up=0, timeout_s=60)
    slowest_s = 0.0
    for point in Point:
        if point is Point.IN_ERASING:
            continue  # nobody erases here; tests/delivery has what an end in the middle of that comes to
        run.crm.set("crm", "status" if point is Point.IN_RETRY_WAIT else "ok", status=429)
        run.restart(environ=run.failpoint(f"{point}:{1 if point in AT_START else run.draw.randint(1, 4)}:stop"))
        with run.down():
            slowest_s = max(slowest_s, terminate_at(run, point, goes_on=not run.long or run.draw.random() < 0.6))
            run.system.start()
    run.bound("slowest_exit_s", slowest_s, EXIT_S)
    run.crm.set("crm", "ok")
    run.settle()
    run.check()


AT_START = (Point.IN_SPAWN, Point.IN_INITIALIZE, Point.IN_CHECKPOINT, Point.IN_DRAIN, Point.IN_RETRY_WAIT)
"""Points that a process comes to once, or seldom."""


def terminate_at(run: Run, point: Point, *, goes_on: bool) -> float:
    """SIGTERM while a process stands at a failpoint, and then goes on or not; how long the end took, in seconds."""
    if point is Point.IN_CHECKPOINT:
        run.oracle.run(connections=4, pause_s=0)
    parts = run.parts()
    began = time.monotonic()
    if point is Point.IN_DRAIN:
        run.system.terminate()
        pid = run.await_failpoint(point)
    else:
        pid = run.await_failpoint(point)
        parts += run.parts()
        began = time.monotonic()
        run.system.terminate()
    standing = signals.standing(pid)
    if goes_on:
        signals.resume([standing])
    code = run.system.wait(EXIT_S)
    assert code == 0, f"{point}: exit code {code}"
    assert not [part for part in parts if part.alive], f"{point}: {[part for part in parts if part.alive]} live on"
    return time.monotonic() - began


@fault("F46", "a bad configuration, and a destination that is removed and comes back while it lags")
def reconfigured(run: Run) -> None:
    run.crm.set("crm", "status", status=429)  # no failure to the circuit breaker, which would stay open over restarts
    run.start()
    whole = run.config(SUPERVISOR, ARCHIVE, CRM, ADS)
    run.oracle.run()
    run.oracle.more(100)
    lagging = run.status("crm to lag", lambda now: now["crm"].pending and now["crm"].error and now["crm"])
    bad = run.folder / "bad.toml"
    bad.write_text(run.system.config_path.read_text().replace('"measurement"', '"mesurement"'))
    for command in ("validate", str(bad)), ("serve", "--config", str(bad)):
        refused = run.system.admin(*command)
        assert refused.returncode != 0 and "mesurement" in refused.stderr + refused.stdout, refused
    run.fired("bad configuration refused")
    run.oracle.more(50)
    run.restart(run.config(SUPERVISOR, ARCHIVE, ADS))
    run.fired("crm removed")
    run.oracle.more(100)
    gone = run.status("crm to be gone", lambda now: now["crm"].state == "removed" and now["crm"])
    assert gone.denied_by["removed"] >= lagging.pending, f"{lagging.pending} were pending: {gone}"
    assert gone.pending == 0, gone
    run.record.figures["filtered_removed"] = gone.denied_by["removed"]
    run.crm.set("crm", "ok")
    run.restart(whole)
    run.fired("crm back")
    back = run.status("crm to be back", lambda now: now["crm"].state != "removed" and now["crm"])
    assert "removed" not in back.denied_by, back
    run.settle()
    run.check()


def add_files(run: Run, names: Iterable[str]) -> None:
    """Destinations that write to a file of their name and take everything."""
    for name in names:
        run.rules[name] = Rule()
        run.files[name] = run.folder / "data" / f"{name}.jsonl"

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.end_to_end import impatient
from tests.end_to_end.harness import ARCHIVE, CRM, MakeSystem, System, poll
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_kill import Load, all_delivered, pid_of

CONFIG = ARCHIVE + CRM
PARTS = ["supervisor", "router", "admin", "gateway"]
STOP_S = 25.0


def started(system: MakeSystem, receiver: Receiver) -> System:
    return system(CONFIG.format(url=receiver.url), program=impatient.PROGRAM).start()


def ready(running: System) -> tuple[int, list[str]]:
    status, body = running.request("GET", "/ready")
    return status, json.loads(body).get("reasons", [])


def serve_log(running: System) -> str:
    return (running.folder / "serve.log").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_part_that_hangs_is_replaced_and_nothing_acknowledged_is_lost(
    system: MakeSystem, receiver: Receiver, part: str
) -> None:
    running = started(system, receiver)
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    victim = pid_of(running, part)
    running.detach()

    os.kill(victim, signal.SIGSTOP)
    poll("its end", lambda: not os.path.exists(f"/proc/{victim}"))
    poll("the word that it is back", lambda: "recovered" in serve_log(running))
    owed = load.finish(at_least=200)

    all_delivered(running, receiver, owed)
    assert ready(running)[0] == 200
    assert f"{part} " in serve_log(running).split("has not answered for")[0]


def test_router_and_supervisor_that_hang_together_are_told_by_ready_and_replaced(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = started(system, receiver)
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    victims = [pid_of(running, part) for part in ("router", "supervisor")]
    running.detach()
    hold = running.folder / impatient.HOLD
    hold.touch()

    for victim in victims:
        os.kill(victim, signal.SIGSTOP)
    status, reasons = poll("not ready", lambda: (now := ready(running))[0] != 200 and now)
    hold.unlink()
    poll("ready again", lambda: ready(running)[0] == 200)
    owed = load.finish(at_least=200)

    all_delivered(running, receiver, owed)
    assert status == 503
    assert any("restarts" in reason for reason in reasons)
    assert serve_log(running).count("recovered: ") == 2


@pytest.mark.parametrize("part", PARTS)
def test_stop_ends_in_time_while_a_part_hangs(system: MakeSystem, receiver: Receiver, part: str) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    victim = pid_of(running, part)
    running.detach()

    os.kill(victim, signal.SIGSTOP)
    began = time.monotonic()
    code = running.stop()
    took_s = time.monotonic() - began
    owed = load.cut()
    running.start()

    all_delivered(running, receiver, owed)
    assert code == 0
    assert took_s < STOP_S


def test_stop_does_not_wait_for_a_destination_that_stands_still(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    load = Load(running)
    victim = running.until("crm", "loaded", lambda s: s.loaded).pid
    running.detach()
    assert victim is not None

    os.kill(victim, signal.SIGSTOP)
    began = time.monotonic()
    code = running.stop()
    took_s = time.monotonic() - began
    owed = load.cut()
    running.start()

    all_delivered(running, receiver, owed)
    assert code == 0
    assert took_s < 12.0


def test_stop_is_heard_while_a_part_that_hung_is_replaced(system: MakeSystem, receiver: Receiver) -> None:
    running = started(system, receiver)
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    supervisor, admin = (pid_of(running, part) for part in ("supervisor", "admin"))
    running.detach()

    os.kill(supervisor, signal.SIGKILL)
    os.kill(admin, signal.SIGSTOP)  # so that there is nobody who could start the supervisor again
    poll("the attempt", lambda: "starting it again" in serve_log(running))
    began = time.monotonic()
    running.stop()
    took_s = time.monotonic() - began
    load.cut()

    assert took_s < STOP_S


def test_machine_that_was_suspended_restarts_nothing(system: MakeSystem, receiver: Receiver) -> None:
    running = started(system, receiver)
    load = Load(running)
    running.until("crm", "loaded", lambda s: s.loaded)
    running.detach()
    everything = [*(pid_of(running, part) for part in PARTS), running.pid]
    running.detach()

    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2 * impatient.HUNG_AFTER_S)  # the time that is not to count
    for pid in reversed(everything):
        os.kill(pid, signal.SIGCONT)
    owed = load.finish(at_least=200)

    all_delivered(running, receiver, owed)
    assert "not answered" not in serve_log(running)
    assert all(os.path.exists(f"/proc/{pid}") for pid in everything)


def test_start_that_never_began_does_not_log_that_it_stopped(system: MakeSystem, receiver: Receiver) -> None:
    running = started(system, receiver)

    second = running.admin("serve")

    assert second.returncode == 1
    assert "stopped" not in second.stdout + second.stderr

"""What ends with what, and what a new process takes along."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.actors import processes
from sluicegate.actors.system import attach, free_port, start
from tests.actors import ports
from tests.actors.conftest import Started
from tests.actors.doubles import Do, Echo, Parent, Ping, Pong, Spawn, Told, Worker

REPOSITORY = Path(__file__).parents[2]


def test_actors_end_with_a_killed_admin(started: Started) -> None:
    everyone = _grow(started)

    os.kill(started.system.admin_pid, signal.SIGKILL)

    assert processes.exited([started.system.admin_pidfd], timeout_s=5)
    assert _soon(lambda: not any(map(_alive, everyone)))


def test_terminated_admin_takes_its_actors_along(started: Started) -> None:
    everyone = _grow(started)

    os.kill(started.system.admin_pid, signal.SIGTERM)

    assert _soon(lambda: not any(map(_alive, everyone)))


def test_children_end_with_a_killed_parent_actor_and_the_rest_goes_on(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")
    spawned = started.system.ask(parent, Spawn("1"), timeout_s=5)
    assert isinstance(spawned, Told)
    [child] = spawned.values
    assert isinstance(child, int)
    [parent_pid] = [process.parent for process in processes.processes() if process.pid == child]

    os.kill(parent_pid, signal.SIGKILL)

    assert _soon(lambda: not _alive(child))
    echo = started.system.create(Echo, global_name="echo")
    assert isinstance(started.system.ask(echo, Ping("1"), timeout_s=5), Pong)


def test_killed_actor_can_be_created_again_under_its_name(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")
    pong = started.system.ask(echo, Ping("1"), timeout_s=5)
    assert isinstance(pong, Pong)

    os.kill(pong.pid, signal.SIGKILL)
    with attach(port=started.port, key=started.key) as attached:
        forgotten = _soon(lambda: attached.find("echo") is None)
    again = started.system.create(Echo, global_name="echo")

    assert forgotten
    assert isinstance(started.system.ask(again, Ping("2"), timeout_s=5), Pong)


def test_parent_is_told_of_a_killed_child(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")
    spawned = started.system.ask(parent, Spawn("1"), timeout_s=5)
    assert isinstance(spawned, Told)
    [child] = spawned.values
    assert isinstance(child, int)

    os.kill(child, signal.SIGKILL)

    assert _soon(lambda: "exit" in _values(started, parent))


def test_children_whose_end_thespian_has_missed_do_not_keep_the_system_from_stopping(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")
    for n in range(3):
        assert isinstance(started.system.ask(parent, Spawn(str(n)), timeout_s=5), Told)
    assert _soon(lambda: len(_values(started, parent)) == 3)

    started.system.ask(parent, Do("lose", "9", ("forget",)), timeout_s=5)
    started.system.stop(timeout_s=3)

    assert "Actor System shutdown" in started.log_path.read_text()


def test_what_was_sent_to_a_child_that_never_told_its_address_is_forgotten_with_it(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")

    answer = started.system.ask(parent, Do("stillborn", "1"), timeout_s=5)

    assert isinstance(answer, Told)
    assert answer.values == (0,)


def test_admin_replaces_a_killed_logger(started: Started) -> None:
    [logger] = processes.children(started.system.admin_pid)

    os.kill(logger, signal.SIGKILL)
    replaced = _soon(lambda: processes.children(started.system.admin_pid) not in ([], [logger]))
    echo = started.system.create(Echo, global_name="echo")

    assert replaced
    assert isinstance(started.system.ask(echo, Ping("1"), timeout_s=5), Pong)


def test_actor_that_logs_goes_on_while_the_logger_is_stopped(started: Started) -> None:
    [logger] = processes.children(started.system.admin_pid)
    worker = started.system.create(Worker, global_name="worker")

    os.kill(logger, signal.SIGSTOP)
    try:
        for number in range(50):
            started.system.tell(worker, Do("raise", str(number)))
        answer = started.system.ask(worker, Do("report", "1"), timeout_s=5)
    finally:
        os.kill(logger, signal.SIGCONT)

    assert isinstance(answer, Told)
    assert answer.values == ("raised",) * 50


def test_no_process_holds_a_listening_socket_but_its_own(started: Started) -> None:
    with socket.socket() as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.listen()
        started.system.stop()
        system = started.restart()
        parent = system.create(Parent, global_name="parent")
        system.ask(parent, Spawn("1"), timeout_s=5)
        held = [ports.listening(process.pid) for process in processes.tree(system.admin_pid)]

    assert [len(addresses) for addresses in held] == [1] * 4
    assert len(set.union(*held)) == 4


def test_actor_inherits_no_sockets(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")

    answer = started.system.ask(worker, Do("sockets", "1"), timeout_s=5)

    assert isinstance(answer, Told)
    assert len(answer.values) <= 2  # the one it listens on, perhaps the one that brought the question


@pytest.mark.parametrize("then", ["stop", "exit"])
def test_program_that_captures_our_output_does_not_hang(tmp_path: Path, then: str) -> None:
    port = free_port()

    done = subprocess.run(_launcher(port, tmp_path, then), cwd=REPOSITORY, capture_output=True, timeout=30, check=True)

    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 4
    assert done.stderr == b""
    assert _soon(lambda: not any(map(_alive, pids)))


def test_everything_ends_with_a_killed_launcher_and_starts_again_at_once(tmp_path: Path) -> None:
    port = free_port()
    launcher = subprocess.Popen(_launcher(port, tmp_path, "wait"), cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    pids = [int(pid) for pid in launcher.stdout.readline().split()]

    launcher.kill()
    launcher.communicate(timeout=10)

    assert len(pids) == 4
    assert _soon(lambda: not any(map(_alive, pids)))
    system = start(port=port, key=b"k" * 32, log_path=tmp_path / "again.log")
    system.stop()


def _grow(started: Started) -> list[int]:
    """A parent with a child; the pids of all processes of the system."""
    parent = started.system.create(Parent, global_name="parent")
    started.system.ask(parent, Spawn("1"), timeout_s=5)
    pids = [process.pid for process in processes.tree(started.system.admin_pid)]
    assert len(pids) == 4
    return pids


def _values(started: Started, parent: object) -> tuple[object, ...]:
    answer = started.system.ask(parent, Do("report", os.urandom(4).hex()), timeout_s=5)
    assert isinstance(answer, Told)
    return answer.values


def _launcher(port: int, directory: Path, then: str) -> list[str]:
    key = (b"k" * 32).hex()
    return [sys.executable, "-m", "tests.actors.launcher", str(port), key, str(directory / "actors.log"), then]


def _alive(pid: int) -> bool:
    return any(process.pid == pid and not process.zombie for process in processes.processes())


def _soon(condition: Callable[[], bool]) -> bool:
    """True as soon as the condition holds; False when it does not within 10 s."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

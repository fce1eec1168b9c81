from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from thespian.actors import ActorAddress

from sluicegate.actors import processes
from sluicegate.actors.addresses import address_of
from sluicegate.actors.loop import Loop
from sluicegate.actors.system import attach, free_port, start
from sluicegate.errors import NotRunning, SluicegateError
from tests.actors.conftest import Started
from tests.actors.doubles import Do, Echo, Keeper, Leave, Leaver, Parent, Ping, Pong, Spawn, Told, Unlucky, Worker


def test_actor_answers_the_launcher(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")

    answer = started.system.ask(echo, Ping("1", "hello"), timeout_s=5)

    assert isinstance(answer, Pong)
    assert (answer.request_id, answer.text) == ("1", "hello")
    assert answer.pid != os.getpid()


def test_second_system_at_the_port_is_refused_with_a_clear_error(started: Started, tmp_path: Path) -> None:
    with pytest.raises(SluicegateError, match=f"port {started.port} is taken"):
        start(port=started.port, key=started.key, log_path=tmp_path / "second.log")


def test_start_from_another_thread_is_refused(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def try_to_start() -> None:
        try:
            start(port=free_port(), key=b"k" * 32, log_path=tmp_path / "actors.log")
        except SluicegateError as error:
            errors.append(error)

    thread = threading.Thread(target=try_to_start)
    thread.start()
    thread.join()

    assert "main thread" in str(errors[0])


def test_actor_of_an_unknown_class_is_an_error_and_its_name_stays_usable(started: Started) -> None:
    class Local(Echo):
        pass

    with pytest.raises(SluicegateError, match="cannot start"):
        started.system.create(Local, global_name="name")
    echo = started.system.create(Echo, global_name="name")

    assert isinstance(started.system.ask(echo, Ping("1"), timeout_s=5), Pong)


def test_actor_whose_init_raises_answers_nothing(started: Started) -> None:
    unlucky = started.system.create(Unlucky, global_name="unlucky")

    assert started.system.ask(unlucky, Ping("1"), timeout_s=5) is None


def test_late_answer_to_an_earlier_question_is_dropped(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")

    started.system.ask(echo, Ping("late"), timeout_s=0)
    answer = started.system.ask(echo, Ping("wanted"), timeout_s=5)

    assert isinstance(answer, Pong)
    assert answer.request_id == "wanted"


def test_what_was_watched_before_interrupts_nothing_any_more(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")
    ours, theirs = os.pipe()
    os.write(theirs, b"stop")
    started.system.interrupt_on(ours)
    # As in a round of the loop that brings the answer to a question too: then nobody is told.
    started.system._endpoint.transport._notice_watched({ours: select.POLLIN})

    started.system.interrupt_on()
    answer = started.system.ask(echo, Ping("1"), timeout_s=5)
    os.close(ours)
    os.close(theirs)

    assert isinstance(answer, Pong)
    assert answer.request_id == "1"


def test_interrupted_question_leaves_a_system_that_answers(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = started.system.create(Echo, global_name="echo")
    poller = Loop._poller

    def interrupted(self: Loop, *, only_send: bool) -> object:
        monkeypatch.setattr(Loop, "_poller", poller)
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_poller", interrupted)
    with pytest.raises(KeyboardInterrupt):
        started.system.ask(echo, Ping("1"), timeout_s=5)
    answer = started.system.ask(echo, Ping("2"), timeout_s=5)

    assert isinstance(answer, Pong)
    assert answer.request_id == "2"


def test_message_that_is_not_taken_piles_up_nothing(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.actors.system._TELL_TIMEOUT_S", 0.2)
    ours, theirs = os.pipe()
    os.write(theirs, b"stop")
    started.system.interrupt_on(ours)

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        taken = started.system.tell(address_of(silent.getsockname()[1]), Ping("1"))
    n_noticed = len(started.system._endpoint.transport._incomingEnvelopes)
    started.system.interrupt_on()
    os.close(ours)
    os.close(theirs)

    assert (taken, n_noticed) == (False, 0)


def test_signal_is_survived_without_a_descriptor(started: Started) -> None:
    transport = started.system._endpoint.transport
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 8, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))

        transport.interrupt_wait()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)


def test_last_words_of_an_actor_are_sent_although_a_timer_was_due(started: Started) -> None:
    """Its parent is held up for longer than the timer had left."""
    keeper = started.system.create(Keeper, global_name="keeper")
    leaver = started.system.create(Leaver, global_name="leaver")
    keeper_pid, leaver_pid = (_pid(started, actor) for actor in (keeper, leaver))
    leaver_fd = os.pidfd_open(leaver_pid)
    os.kill(keeper_pid, signal.SIGSTOP)

    started.system.tell(leaver, Leave(keeper, timer_s=0.25))
    ended_early = bool(processes.exited([leaver_fd], timeout_s=1.0))
    os.kill(keeper_pid, signal.SIGCONT)
    ended = bool(processes.exited([leaver_fd], timeout_s=10.0))
    os.close(leaver_fd)
    told = started.system.ask(keeper, Do("texts", "1"), timeout_s=5)

    assert (ended_early, ended) == (False, True)
    assert isinstance(told, Told)
    assert told.values == ("progress", "load failed")


def _pid(started: Started, actor: ActorAddress) -> int:
    answer = started.system.ask(actor, Ping(), timeout_s=5)
    assert isinstance(answer, Pong)
    return answer.pid


def test_message_to_a_dead_address_is_not_taken(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")
    answer = started.system.ask(worker, Do("files", "1"), timeout_s=5)
    assert isinstance(answer, Told)

    for process in processes.tree(started.system.admin_pid):
        if process.pid not in (started.system.admin_pid, *_admin_and_logger(started)):
            os.kill(process.pid, signal.SIGKILL)
            _wait_until_gone(process.pid)

    assert started.system.ask(worker, Do("files", "2"), timeout_s=5) is None
    assert not started.system.tell(worker, Do("files"))


def test_attached_process_finds_and_asks(started: Started) -> None:
    started.system.create(Echo, global_name="echo")

    with attach(port=started.port, key=started.key) as attached:
        echo = attached.find("echo")
        answer = attached.ask(echo, Ping("1"), timeout_s=5)
        told = attached.tell(echo, Ping("2"))
        unknown = attached.find("nobody")

    assert isinstance(answer, Pong)
    assert told
    assert unknown is None


def test_several_attached_systems_of_one_process_do_not_mix_answers(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")
    mixed: list[object] = []

    def ask_often(name: str) -> None:
        with attach(port=started.port, key=started.key) as attached:
            for number in range(50):
                answer = attached.ask(echo, Ping(f"{name}-{number}"), timeout_s=10)
                if not isinstance(answer, Pong) or answer.request_id != f"{name}-{number}":
                    mixed.append(answer)

    threads = [threading.Thread(target=ask_often, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert mixed == []


def test_attach_says_that_nobody_listens() -> None:
    with pytest.raises(NotRunning, match="nothing listens"):
        attach(port=free_port(), key=b"k" * 32)


def test_attach_says_that_the_key_is_another_one(started: Started) -> None:
    with pytest.raises(NotRunning, match="another key"):
        attach(port=started.port, key=b"x" * 32)


def test_system_starts_again_at_once_after_its_admin_was_killed(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")
    started.system.ask(parent, Spawn("1"), timeout_s=5)
    os.kill(started.system.admin_pid, signal.SIGKILL)
    processes.exited([started.system.admin_pidfd], timeout_s=5)

    dead = not started.system.alive
    started.system.stop()
    again = started.restart()
    echo = again.create(Echo, global_name="parent")

    assert dead
    assert isinstance(again.ask(echo, Ping("1"), timeout_s=5), Pong)


def test_stop_ends_an_actor_that_does_not_listen(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")
    sleeps = started.system.ask(worker, Do("sleep", "1"), timeout_s=5)

    started.system.stop(timeout_s=0.5)

    assert isinstance(sleeps, Told)
    assert processes.tree(started.system.admin_pid) == []


def test_stop_ends_processes_that_an_actor_has_forked_itself(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")
    answer = started.system.ask(worker, Do("own_fork", "1"), timeout_s=5)
    assert isinstance(answer, Told)

    started.system.stop()

    assert not Path(f"/proc/{answer.values[0]}").exists()


def test_stop_may_be_called_twice(started: Started) -> None:
    started.system.stop()
    started.system.stop()

    assert not started.system.alive


def test_log_files_are_private(started: Started) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in started.log_path.parent.iterdir()}

    assert modes == {"actors.log": 0o600, "actors.log.thespian": 0o600}


def test_standard_files_of_actors_are_null_and_the_log(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")

    answer = started.system.ask(worker, Do("files", "1"), timeout_s=5)

    assert isinstance(answer, Told)
    assert answer.values == ("/dev/null", str(started.log_path), str(started.log_path))


def _admin_and_logger(started: Started) -> list[int]:
    """The admin process and its first child, which is the logger."""
    return [started.system.admin_pid, min(processes.children(started.system.admin_pid))]


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while any(p.pid == pid and not p.zombie for p in processes.processes()):
        assert time.monotonic() < deadline
        time.sleep(0.005)

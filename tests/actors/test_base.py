from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from thespian.actors import (
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from sluicegate.actors.addresses import address_of
from sluicegate.actors.base import SafeActor, handles
from tests.actors.conftest import Started
from tests.actors.doubles import Do, Echo, Parent, Ping, Pong, Told, Worker

SENDER = address_of(1)


class Recorder(SafeActor):
    """Notes what it is called with; used without an actor system around it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    @handles(Ping, Pong)
    def receiveMsg_Ping(self, message: Ping, sender: object) -> None:
        self.calls.append(message)
        raise ValueError("on purpose")

    def on_error(self, message: object, sender: object, error: BaseException) -> None:
        self.calls.append(error)
        raise RuntimeError("on purpose too")

    def on_child_exited(self, address: object) -> None:
        self.calls.append("child")

    def on_dead_letter(self, address: object, message: object) -> None:
        self.calls.append("dead letter")

    def on_exit(self) -> None:
        self.calls.append("exit")


class Other:
    """Not a message of ours, although it is called like one that is."""


Other.__name__ = "Ping"


def test_error_in_a_handler_is_given_to_on_error_and_goes_no_further() -> None:
    actor = Recorder()

    actor.receiveMessage(Ping("1"), SENDER)

    assert actor.calls[0] == Ping("1")
    assert isinstance(actor.calls[1], ValueError)


def test_handler_takes_every_class_that_it_is_marked_with() -> None:
    actor = Recorder()

    actor.receiveMessage(Pong("1", "", 0), SENDER)

    assert actor.calls[0] == Pong("1", "", 0)


def test_message_of_another_class_with_the_same_name_is_not_handled(caplog: pytest.LogCaptureFixture) -> None:
    actor = Recorder()

    actor.receiveMessage(Other(), SENDER)
    actor.receiveMessage(Other(), SENDER)

    assert actor.calls == []
    assert caplog.text.count("does not handle") == 1


def test_messages_of_thespian_reach_their_hooks() -> None:
    actor = Recorder()

    actor.receiveMessage(ChildActorExited(SENDER), SENDER)
    actor.receiveMessage(DeadEnvelope(SENDER, Ping("1")), SENDER)
    actor.receiveMessage(PoisonMessage(Ping("1")), SENDER)
    actor.receiveMessage(WakeupMessage(1, 999), SENDER)
    actor.receiveMessage(ActorExitRequest(), SENDER)

    assert actor.calls == ["child", "dead letter", "exit"]


def test_handler_that_is_not_marked_is_an_error_of_the_class() -> None:
    with pytest.raises(TypeError, match="not marked"):

        class Unmarked(SafeActor):
            def receiveMsg_Ping(self, message: Ping, sender: object) -> None: ...


def test_subclass_keeps_the_handlers_of_its_base() -> None:
    assert Parent._handlers[Ping] == "receiveMsg_Ping"
    assert Do not in Echo._handlers


def test_every_message_renews_the_watch(tmp_path: object) -> None:
    actor = Recorder()
    inbox = actor.open_inbox(actor.calls.append)

    first = actor.receiveMessage(Ping("1"), SENDER)
    inbox.put("item")
    second = actor.receiveMessage(WatchMessage([inbox.fileno()]), SENDER)
    actor.unwatch(inbox.fileno())
    third = actor.receiveMessage(WatchMessage([inbox.fileno()]), SENDER)
    inbox.close()

    assert isinstance(first, ThespianWatch)
    assert isinstance(second, ThespianWatch)
    assert first.filenos == second.filenos == [inbox.fileno()]
    assert third is None
    assert actor.calls[-1] == ["item"]


def test_regular_file_cannot_be_watched() -> None:
    with open(__file__) as file, pytest.raises(ValueError, match="regular file"):
        Recorder().watch(file.fileno(), lambda: None)


def test_failing_handler_runs_once_and_the_actor_goes_on(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")

    started.system.tell(worker, Do("raise"))
    started.system.tell(worker, Do("exit"))
    answer = started.system.ask(worker, Do("report", "1"), timeout_s=5)

    assert isinstance(answer, Told)
    assert answer.values == ("raised",)


def test_timers_fire_in_order_and_only_as_last_armed(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")

    started.system.tell(worker, Do("timers"))
    values = _report_when(started, worker, lambda values: len(values) >= 4)

    assert values == ("first", "raises", "second", "moved")


def test_items_of_threads_reach_the_actor(started: Started) -> None:
    worker = started.system.create(Worker, global_name="worker")

    started.system.tell(worker, Do("threads"))
    values = _report_when(started, worker, lambda values: len(values) >= 400)

    assert sorted(map(str, values)) == sorted("0123" * 100)


def _report_when(started: Started, worker: object, enough: Callable[[tuple[object, ...]], bool]) -> tuple[object, ...]:
    """What the worker has seen, as soon as it is enough or 10 s have passed."""
    deadline = time.monotonic() + 10
    number = 0
    while True:
        answer = started.system.ask(worker, Do("report", str(number)), timeout_s=5)
        assert isinstance(answer, Told)
        if enough(answer.values) or time.monotonic() > deadline:
            return answer.values
        number += 1

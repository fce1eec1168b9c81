"""The router's answers, without an actor system around it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sluicegate.actors.addresses import address_of
from sluicegate.actors.router import RouterActor, _Deciding, _end_without_sweeper
from sluicegate.config import Config, GatewayConfig, SupervisorConfig
from sluicegate.consent.evidence import Evidence, Told
from sluicegate.consent.ledger import Recorded
from sluicegate.consent.subject import Subject
from sluicegate.messages.codec import Message
from sluicegate.messages.consent import ConsentRecorded
from sluicegate.messages.control import Configure, Done
from sluicegate.messages.ingest import Refused
from sluicegate.paths import DataDir
from sluicegate.registry import open_data

SENDER = address_of(1)


class Router(RouterActor):
    """Notes what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Message] = []

    def send(self, address: object, message: Message) -> None:
        self.sent.append(message)


def deciding(name: str) -> _Deciding:
    return _Deciding(name, SENDER, Told(Subject(name), {}, Evidence.APPLICATION, "python"))


@pytest.mark.parametrize("step", ["_tell_listeners", "_put_in_force"])
def test_decision_that_fails_is_refused_and_the_others_of_its_transaction_are_answered(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    router = Router()
    whole = getattr(router, step)

    def fail_for_ben(one: _Deciding) -> object:
        if one.request_id == "ben":
            raise ValueError("boom")
        return whole(one)

    monkeypatch.setattr(router, step, fail_for_ben)

    router._answer_decisions([([deciding("anne"), deciding("ben"), deciding("carl")], Recorded(7, frozenset()))])

    anne, ben, carl = router.sent
    assert (anne, carl) == (ConsentRecorded("anne", 7), ConsentRecorded("carl", 7))
    assert isinstance(ben, Refused)
    assert (ben.request_id, "send it again" in ben.reason) == ("ben", True)


def test_decision_that_fails_after_its_notice_is_stored_keeps_no_event_from_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Router()
    monkeypatch.setattr(router, "_put_in_force", lambda one: 1 / 0)

    router._answer([([(deciding("anne"), 1), (deciding("ben"), 2)], None)])

    assert [one.request_id for one in router.sent if isinstance(one, Refused)] == ["anne", "ben"]


def test_router_ends_with_its_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr("sluicegate.actors.router.os._exit", codes.append)

    _end_without_sweeper(RuntimeError("a mistake in the code"))

    assert codes == [1]


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's process keeps its name."""
    for name in ("setproctitle", "be_part"):
        monkeypatch.setattr(f"sluicegate.actors.router.{name}", lambda name: None)


def test_second_configuration_starts_nothing_again(tmp_path: Path, unnamed: None) -> None:
    config = Config(tmp_path, GatewayConfig(), SupervisorConfig(), {})
    for opened in open_data(DataDir(tmp_path)):
        opened.close()
    router = Router()
    router.receiveMsg_Configure(Configure("first", config.encode()), SENDER)
    threads = set(threading.enumerate())

    router.receiveMsg_Configure(Configure("again", config.encode()), SENDER)
    more = set(threading.enumerate()) - threads
    router.on_exit()

    assert not more
    assert [one.request_id for one in router.sent if isinstance(one, Done)] == ["first", "again"]


def test_configuration_that_fails_is_refused_with_the_reason(tmp_path: Path, unnamed: None) -> None:
    config = Config(tmp_path / "gone", GatewayConfig(), SupervisorConfig(), {})
    router = Router()

    router.receiveMessage(Configure("first", config.encode()), SENDER)

    (refused,) = router.sent
    assert isinstance(refused, Refused)
    assert (refused.request_id, "gone" in refused.reason) == ("first", True)

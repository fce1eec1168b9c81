"""The router's answers, without an actor system around it."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from sluicegate.acceptance import Acceptor
from sluicegate.actors.addresses import address_of
from sluicegate.actors.router import RouterActor, _Deciding, _end_without_sweeper, _Waiting
from sluicegate.config import Config, GatewayConfig, SupervisorConfig
from sluicegate.consent.evidence import Evidence, Told
from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.consent.subject import Subject
from sluicegate.messages.codec import Message
from sluicegate.messages.consent import ConsentRecorded
from sluicegate.messages.control import Configure, Done
from sluicegate.messages.ingest import Refused
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from tests.delivery.consenting import LATER_MS, told
from tests.gateway.harness import make_config

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


def test_old_history_goes_also_where_python_applications_alone_tell_consent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, router = make_config(tmp_path), Router()
    data_dir = DataDir(config.data_dir)
    monkeypatch.setattr(router, "open_inbox", lambda take: SimpleQueue())
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    ledger.record([told(True, visitor="long ago")], now_ms=1_000)

    router._open_ledger(config, data_dir)
    assert router._ledger is not None
    router._ledger.submit([told(False)], None)
    assert router._ledger.close(timeout_s=30.0)

    assert history(ledger, Subject(anonymous_id="long ago")) == []
    assert len(history(ledger, Subject(anonymous_id="visitor"))) == 1
    ledger.close()


def test_link_that_the_ledger_had_no_room_for_is_told_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, router = make_config(tmp_path), Router()
    monkeypatch.setattr(router, "open_inbox", lambda take: SimpleQueue())
    router._open_ledger(config, DataDir(config.data_dir))
    assert router._ledger is not None
    event = b'{"type": "identify", "messageId": "m", "userId": "anne", "anonymousId": "phone"}'
    acceptor = Acceptor(GatewayConfig())
    acceptance = acceptor.accept_events((event,), consent=None, source="python", received_at_ms=LATER_MS)
    waiting = _Waiting("request", SENDER, acceptance, 1)

    with monkeypatch.context() as behind:
        behind.setattr("sluicegate.consent.writer.MAX_WAITING", 0)
        assert not router._tell_ledger(waiting)
    assert router._tell_ledger(waiting)
    assert router._ledger.close(timeout_s=30.0)

    ledger = Ledger(DataDir(config.data_dir).consent, DataDir(config.data_dir).consent_key)
    assert [change.evidence for change in history(ledger, Subject(anonymous_id="phone"))] == [Evidence.IDENTIFY]
    ledger.close()


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

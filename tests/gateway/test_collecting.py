"""How what events say about consent comes into the ledger before the events are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from sluicegate.acceptance import Acceptor
from sluicegate.config.model import Config, GatewayConfig
from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.errors import LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.gateway.collecting import MAX_HERE, Collecting
from sluicegate.metrics import ConsentCounts
from sluicegate.paths import DataDir
from tests.delivery.consenting import record, told
from tests.gateway.harness import make_config

NOW_MS = 1_795_453_201_000
PATIENCE_S = 30.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = make_config(tmp_path)
    data_dir = DataDir(config.data_dir)
    Ledger(data_dir.consent, data_dir.consent_key).close()
    return config


def batch_of(n_events: int = 1, **consent: Any) -> EventBatch:
    events = [
        {"type": "track", "event": "E", "messageId": f"m{n}", "anonymousId": f"phone {n}", "consent": consent}
        for n in range(n_events)
    ]
    body = msgspec.json.encode({"batch": events})
    return Acceptor(GatewayConfig()).accept_batch(body, source="web", received_at_ms=NOW_MS).batch


def states(config: Config, n_events: int = 1) -> list[State]:
    data_dir = DataDir(config.data_dir)
    view = LedgerView(data_dir.consent, data_dir.consent_key, Rules())
    known = [view.of(Subject(anonymous_id=f"phone {n}")) for n in range(n_events)]
    view.close()
    return [one.standings(gpc=False, now_ms=NOW_MS).of("marketing").state for one in known]


@contextmanager
def somebody_writing(config: Config) -> Iterator[None]:
    other = apsw.Connection(str(DataDir(config.data_dir).consent))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def run(config: Config, work: Callable[[Collecting], Awaitable[None]]) -> None:
    async def whole() -> None:
        collecting = Collecting(config, ConsentCounts())
        collecting.start()
        try:
            await asyncio.wait_for(work(collecting), PATIENCE_S)
        finally:
            assert await collecting.close(PATIENCE_S)

    asyncio.run(whole())


def test_what_a_device_was_seen_to_say_is_there_at_once(config: Config) -> None:
    found: list[list[State]] = []

    async def work(collecting: Collecting) -> None:
        collecting.collect(batch_of(2, marketing=False), lambda: found.append(states(config, 2)))
        assert found == [[State.DENIED] * 2]

    run(config, work)


@pytest.mark.parametrize("waits_for", ["a decision with a time", "many at once"])
def test_what_waits_for_the_disk_is_written_beside_the_loop(config: Config, waits_for: str) -> None:
    is_decision = waits_for == "a decision with a time"
    batch = batch_of(marketing=False, givenAt=NOW_MS - 5) if is_decision else batch_of(MAX_HERE + 1, marketing=False)

    async def work(collecting: Collecting) -> None:
        done = asyncio.Event()
        collecting.collect(batch, done.set)
        assert not done.is_set()
        await done.wait()
        assert states(config) == [State.DENIED]

    run(config, work)


@pytest.mark.parametrize("says", [{"marketing": False}, {"marketing": False, "givenAt": NOW_MS - 5}])
def test_old_history_goes_also_where_events_alone_tell_consent(config: Config, says: dict[str, Any]) -> None:
    data_dir = DataDir(config.data_dir)
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    ledger.record([told(True, visitor="long ago")], now_ms=1_000)

    async def work(collecting: Collecting) -> None:
        collecting.collect(batch_of(**says), lambda: None)

    run(config, work)

    assert history(ledger, Subject(anonymous_id="long ago")) == []
    assert len(history(ledger, Subject(anonymous_id="phone 0"))) == 1
    ledger.close()


def test_the_loop_does_not_wait_for_others_who_write(config: Config) -> None:
    async def work(collecting: Collecting) -> None:
        done, later = asyncio.Event(), asyncio.Event()
        with somebody_writing(config):
            collecting.collect(batch_of(marketing=False), done.set)
            collecting.collect(batch_of(), later.set)
            assert not done.is_set()
            assert not later.is_set()  # the same person's next event waits too
        await done.wait()
        await later.wait()
        assert states(config) == [State.DENIED]

    run(config, work)


def test_a_ledger_that_waits_for_nothing_says_that_it_is_busy(config: Config) -> None:
    data_dir = DataDir(config.data_dir)
    ledger = Ledger(data_dir.consent, data_dir.consent_key, waits=False)

    with somebody_writing(config), pytest.raises(LogUnavailable):
        ledger.sync()

    ledger.sync()
    ledger.close()


def test_what_comes_after_a_ledger_could_not_be_read_is_recorded_as_ever(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(collecting: Collecting) -> None:
        with monkeypatch.context() as trouble:
            trouble.setattr(LedgerView, "of_many", _cannot_be_read)
            collecting.collect(batch_of(marketing=False), lambda: None)
        assert states(config) == [State.UNDECIDED]

        collecting.collect(batch_of(marketing=False), lambda: None)
        assert states(config) == [State.DENIED]

    record(DataDir(config.data_dir), [told(True, visitor="somebody else")])
    run(config, work)


def test_link_that_could_not_be_written_is_written_with_the_next_event_that_tells_it(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identify(message_id: str) -> EventBatch:
        event = {"type": "identify", "messageId": message_id, "userId": "anne", "anonymousId": "phone 0"}
        body = msgspec.json.encode({"batch": [event]})
        return Acceptor(GatewayConfig()).accept_batch(body, source="web", received_at_ms=NOW_MS).batch

    async def work(collecting: Collecting) -> None:
        for name in ("m1", "m2"):
            done = asyncio.Event()
            with monkeypatch.context() as trouble:
                if name == "m1":
                    trouble.setattr(Ledger, "record", _cannot_be_read)
                collecting.collect(identify(name), done.set)
                await done.wait()

    record(DataDir(config.data_dir), [told(False, visitor="phone 0")])
    run(config, work)

    data_dir = DataDir(config.data_dir)
    with closing(LedgerView(data_dir.consent, data_dir.consent_key, Rules())) as view:
        anne = view.of(Subject("anne", None)).standings(gpc=False, now_ms=NOW_MS)
    assert anne.of("marketing").state is State.DENIED


def _cannot_be_read(*args: object, **kwargs: object) -> object:
    raise LogUnavailable("consent.db: disk I/O error")

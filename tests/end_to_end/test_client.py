from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Client
from sluicegate.actors.transport import Transport
from sluicegate.client import MAX_REQUEST_EVENTS
from sluicegate.config.model import GatewayConfig
from sluicegate.errors import NotRunning, Refused
from sluicegate.messages.ingest import Accepted, ProcessEvent, ProcessEvents
from tests.end_to_end.harness import ADS, ARCHIVE, MakeSystem

CONFIG = ARCHIVE + ADS


def test_client_sends_every_kind_of_event_and_tells_which_were_refused(system: MakeSystem) -> None:
    running = system(CONFIG).start()

    with Client(running.data_dir.root) as client:
        ids = [
            client.track("Bought", user_id="u", properties={"total": 1}, consent={"marketing": True}),
            client.identify(user_id="u", traits={"plan": "pro"}),
            client.page("Home", anonymous_id="a"),
            client.screen("Start", anonymous_id="a"),
            client.group("g", user_id="u"),
            client.alias("a", user_id="u"),
        ]
        client.track("Nobody did this")
        verdicts = client.flush()
        archive = running.until_delivered("archive", 6)
        ads = running.until_delivered("ads", 4)  # "u" has consented; of "a" nothing is known

    stored = [json.loads(line) for line in (running.data_dir.root / "events.jsonl").read_text().splitlines()]
    assert {event["messageId"] for event in stored} == set(ids)
    assert [v.index for v in verdicts] == [6]
    assert archive.denied == 0
    assert (ads.held, ads.denied_by) == (2, {})


def test_events_that_are_refused_at_the_end_are_told_in_the_log(
    system: MakeSystem, caplog: pytest.LogCaptureFixture
) -> None:
    running = system(CONFIG).start()

    with Client(running.data_dir.root) as client:
        client.track("Somebody did this", user_id="u")
        client.track("Nobody did this")

    assert running.until_delivered("archive", 1).accepted == 1
    assert "1 events were refused and are not stored, the first: neither userId nor anonymousId" in caplog.text


def test_what_was_refused_while_nobody_asked_is_bounded_and_told_in_the_log(
    system: MakeSystem, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.client.MAX_VERDICTS", 3)
    running = system(CONFIG).start()

    with Client(running.data_dir.root, flush_at=2) as client:
        for _ in range(5):
            client.track("Nobody did this")
        verdicts = client.flush()

    assert [v.index for v in verdicts] == [2, 3, 4]
    assert "1 events were refused and are not stored" in caplog.text


def test_single_event_message_is_answered_with_its_offset(system: MakeSystem) -> None:
    running = system(CONFIG).start()
    client = running.client

    first = client._ask("sluicegate.router", ProcessEvent("r1", "track", user_id="u", event="One"))
    second = client._ask("sluicegate.router", ProcessEvent("r2", "track", user_id="u", event="Two"))

    assert first == Accepted("r1", 1, 1)
    assert second == Accepted("r2", 2, 1)


def test_many_events_are_stored_in_order(system: MakeSystem) -> None:
    running = system(CONFIG).start()

    with Client(running.data_dir.root) as client:
        for number in range(1_000):
            client.track("Counted", anonymous_id="one", properties={"n": number})
    running.until_delivered("archive", 1_000)

    lines = (running.data_dir.root / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["properties"]["n"] for line in lines] == list(range(1_000))


def test_what_gathers_while_nobody_takes_it_goes_out_in_requests_that_are_not_too_large(
    system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = system("max_batch_events = 50\n" + CONFIG).start()

    def nobody(*args: object, **kwargs: object) -> None:
        raise NotRunning("nobody answers")

    with Client(running.data_dir.root, flush_at=50) as client:
        with monkeypatch.context() as outage:
            outage.setattr(client, "_ask", nobody)
            for _ in range(120):
                with suppress(NotRunning):
                    client.track("Counted", anonymous_id="a")
        client.track("Nobody did this")
        verdicts = client.flush()

    assert [verdict.index for verdict in verdicts] == [120]
    assert running.until_delivered("archive", 120).accepted == 120


def test_client_sends_fewer_at_once_to_a_system_that_takes_fewer(system: MakeSystem) -> None:
    running = system("max_batch_events = 30\n" + CONFIG).start()

    with Client(running.data_dir.root) as client:
        for _ in range(120):
            client.track("Counted", anonymous_id="a")
        client.track("Nobody did this")
        verdicts = client.flush()

    assert [verdict.index for verdict in verdicts] == [120]
    assert running.until_delivered("archive", 120).accepted == 120


def test_client_never_sends_more_at_once_than_a_system_takes_by_default() -> None:
    assert GatewayConfig().max_batch_events == MAX_REQUEST_EVENTS


def test_interrupted_flush_and_an_event_that_is_too_large_keep_nothing_else_back(
    system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = system(CONFIG).start()
    batch_done = Transport._batch_done

    def interrupted(self: Transport, receiver_port: int) -> None:
        monkeypatch.setattr(Transport, "_batch_done", batch_done)
        raise KeyboardInterrupt

    with Client(running.data_dir.root) as client:
        client.track("First", anonymous_id="a")
        monkeypatch.setattr(Transport, "_batch_done", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.flush()
        with pytest.raises(Refused, match="4194304"):
            client.add(b'{"type":"track","event":"%s"}' % (b"x" * 9_000_000))
        client.track("Second", anonymous_id="a")
        verdicts = client.flush()

    assert verdicts == []
    assert running.until_delivered("archive", 2).accepted == 2


@pytest.mark.parametrize("event", ['{"type":"track"}', {"type": "track"}, 3])
def test_event_that_is_not_in_bytes_is_told_at_once_and_keeps_no_other_back(system: MakeSystem, event: Any) -> None:
    running = system(CONFIG).start()

    with Client(running.data_dir.root) as client:
        with pytest.raises(TypeError, match="bytes"):
            client.add(event)
        client.track("Second", anonymous_id="a")
        verdicts = client.flush()

    assert verdicts == []
    assert running.until_delivered("archive", 1).accepted == 1


def test_what_the_router_would_not_read_is_refused_with_the_reason(system: MakeSystem) -> None:
    running = system(CONFIG).start()

    with Client(running.data_dir.root) as client:
        for wrong in ({"marketing": 1}, {"marketing": "yes"}, {1: True}):
            with pytest.raises(Refused, match=r"Expected `(bool|str)`"):
                client.set_consent(wrong, user_id="u")  # type: ignore[arg-type]


def test_client_without_a_running_system_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="sluicegate serve"):
        Client(tmp_path)


def test_time_without_an_offset_is_that_of_the_applications_clock(
    system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = system(CONFIG).start()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "EST5")
        time.tzset()
        running.client.track("Bought", user_id="u", timestamp=datetime(2026, 1, 31, 8, 30))
    time.tzset()

    running.client.flush()
    running.until_delivered("archive", 1)

    (event,) = map(json.loads, (running.data_dir.root / "events.jsonl").read_text().splitlines())
    assert datetime.fromisoformat(event["timestamp"]) == datetime(2026, 1, 31, 13, 30, tzinfo=UTC)


def test_wrong_argument_names_those_that_exist(system: MakeSystem) -> None:
    running = system(CONFIG).start()

    with pytest.raises(TypeError, match="anonymous_id"):
        running.client.track("Bought", userid="u")


def test_event_that_an_application_and_a_web_page_send_again_is_stored_once(system: MakeSystem) -> None:
    running = system(CONFIG).start()
    event = {"type": "track", "event": "One", "userId": "u", "messageId": "same"}
    again = ProcessEvents("r2", (json.dumps(event).encode(), json.dumps({**event, "messageId": "new"}).encode()), None)
    only_again = ProcessEvents("r3", (json.dumps(event).encode(),), None)

    answer = running.client._ask("sluicegate.router", ProcessEvents("r1", (json.dumps(event).encode(),)))
    repeated = [running.client._ask("sluicegate.router", one) for one in (again, only_again)]
    by_web = [running.post([event]) for _ in range(2)]  # another source: another event
    archive = running.until_delivered("archive", 3)
    story = json.loads(running.admin("explain", "same", "--json").stdout)

    assert answer == Accepted("r1", 1, 1)
    assert repeated == [Accepted("r2", 2, 2), Accepted("r3", 0, 1)]
    assert [one["accepted"] for one in by_web] == [1, 1]
    assert archive.accepted == 3
    assert [(one["offset"], one["source"]) for one in story["events"]] == [(1, "actor"), (3, "web")]


def test_child_of_a_fork_and_its_parent_do_not_take_each_others_answers(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()
    count = 100

    with Client(running.data_dir.root, timeout_s=2.0) as client:
        client.track("Forked", anonymous_id="a")
        child = get_context("fork").Process(target=_track_one_by_one, args=(client, count))
        child.start()
        _track_one_by_one(client, count)
        child.join()

    assert child.exitcode == 0
    assert running.until_delivered("archive", 1 + 2 * count).accepted == 1 + 2 * count


def _track_one_by_one(client: Client, count: int) -> None:
    for _ in range(count):
        client.track("Counted", anonymous_id="a")
        assert client.flush() == []

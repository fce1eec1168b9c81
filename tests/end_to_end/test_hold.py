from __future__ import annotations

from pathlib import Path
from typing import Any

from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.messages.status import DestinationStatus
from tests.end_to_end.harness import MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_withdrawal import tell

CONFIG = """
[consent]
hold_ttl = "{ttl}"
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "{url}"
[destinations.ads]
type = "null"
requires = ["marketing"]
[destinations.strict]
type = "null"
requires = ["measurement"]
on_undecided = "drop"
"""

QUICK = """
[supervisor]
idle_ttl = "1s"
retry_delay = "100ms"
"""


def config(receiver: Receiver, *, ttl: str = "30m") -> str:
    return CONFIG.format(url=receiver.url, ttl=ttl)


def until_held(running: System, name: str, count: int) -> DestinationStatus:
    return running.until(name, f"holding {count}", lambda one: one.held == count and one.pending == 0)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["messageId"] for event in events]


def test_statements_1_18_36_held_without_a_process_and_released_by_a_grant_in_order(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(config(receiver)).start()
    first, second = track(1, subject="anne"), track(2, subject="anne")
    running.post([first, track(3, subject="ben")])
    running.post([second])
    held = until_held(running, "crm", 3)
    strict = running.until("strict", "done", lambda one: one.denied == 3)

    tell(running, "anne", measurement=True)
    third = track(4, subject="anne")
    running.post([third])

    crm = running.until_delivered("crm", 3)
    ads = until_held(running, "ads", 4)
    assert (held.last_attempt, held.epoch, held.pid) == (None, 0, None)
    assert strict.denied_by == {"consent_undecided": 3}
    assert crm.held == 1
    assert receiver.ids() == ids([first, second, third])
    assert (ads.last_attempt, ads.epoch) == (None, 0)


def test_statement_20_a_denial_deletes_what_is_held_and_a_later_grant_releases_nothing(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(config(receiver)).start()
    running.post([track(1, subject="anne"), track(2, subject="anne")])
    until_held(running, "crm", 2)

    tell(running, "anne", measurement=False)
    tell(running, "anne", measurement=True)
    status = running.until("crm", "without what it held", lambda one: one.held == 0)
    wanted = track(3, subject="anne")
    running.post([wanted])
    running.until_delivered("crm", 1)

    assert status.denied_by == {"consent_denied": 2}
    assert receiver.ids() == ids([wanted])


def test_statement_19_what_nobody_decides_in_time_expires_without_a_process(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(config(receiver, ttl="1s")).start()
    running.post([track(1, subject="anne")])
    status = running.until("crm", "done with it", lambda one: one.denied_by == {"hold_expired": 1})

    tell(running, "anne", measurement=True)
    wanted = track(2, subject="anne")
    running.post([wanted])
    running.until_delivered("crm", 1)

    assert (status.held, status.last_attempt) == (0, None)
    assert receiver.ids() == ids([wanted])


def test_statement_31_held_events_a_denial_and_a_grant_survive_kill_9(system: MakeSystem, receiver: Receiver) -> None:
    running = system(config(receiver)).start()
    anne, ben = track(1, subject="anne"), track(2, subject="ben")
    running.post([anne, ben, track(3, subject="cleo")])
    until_held(running, "crm", 3)

    tell(running, "anne", measurement=False)
    tell(running, "anne", measurement=True)
    tell(running, "ben", measurement=True)
    running.kill()
    poll("its processes to be gone", lambda: not wait_until_seen(running.data_dir.stores).loaded)
    running.start()

    status = running.until_delivered("crm", 1)
    assert (status.held, status.denied_by) == (1, {"consent_denied": 1})
    assert receiver.ids() == ids([ben])


def test_a_loaded_destination_releases_by_itself_whoever_grants(system: MakeSystem, receiver: Receiver) -> None:
    running = system(config(receiver)).start()
    running.post([track(0, subject="zoe", consent={"measurement": True})])
    running.until_delivered("crm", 1)
    first, second, third = (track(n, subject=who) for n, who in enumerate(("anne", "ben", "cleo")))
    running.post([first, second, third])
    epoch = until_held(running, "crm", 3).epoch

    done = running.admin("consent", "set", "--anonymous-id", "anne", "--grant", "measurement")
    assert done.returncode == 0, done.stderr
    running.until("crm", "done with anne", lambda one: one.delivered == 2)
    running.client.set_consent({"measurement": True}, anonymous_id="ben")
    running.until("crm", "done with ben", lambda one: one.delivered == 3)
    preference = {
        **track(9, subject="cleo", consent={"measurement": True}),
        "event": "Segment Consent Preference Updated",
    }
    running.post([preference])

    status = running.until("crm", "done", lambda one: one.pending == 0 and one.delivered == 4)
    # The event about the decision is for destinations that ask for such.
    assert (status.held, status.epoch, status.denied_by) == (0, epoch, {"event_type": 1})
    assert receiver.ids()[1:] == ids([first, second, third])


def test_statement_40_identify_releases_what_the_visitor_did_before(system: MakeSystem, receiver: Receiver) -> None:
    running = system(config(receiver)).start()
    visit = track(1, subject="anne")
    running.post([visit])
    until_held(running, "crm", 1)
    running.client.set_consent({"measurement": True}, user_id="user-anne")

    login = {"type": "identify", "messageId": "login", "anonymousId": "anne", "userId": "user-anne"}
    running.post([login])

    running.until_delivered("crm", 2)
    assert receiver.ids() == [visit["messageId"], "login"]


def test_statement_31_a_release_that_is_cut_short_comes_again_and_counts_once(
    system: MakeSystem, receiver: Receiver, tmp_path: Path
) -> None:
    environ = {"SG_FP": "after_post", "SG_FP_DIR": str(tmp_path)}
    running = system(config(receiver) + QUICK, environ=environ).start()
    first, second = track(1, subject="anne"), track(2, subject="anne")
    running.post([first, second])
    until_held(running, "crm", 2)

    running.client.set_consent({"measurement": True}, anonymous_id="anne")

    status = running.until_delivered("crm", 2)
    assert (tmp_path / "after_post").exists()
    assert (status.held, status.dead) == (0, 0)
    assert receiver.ids() == ids([first, second, first, second])


def test_an_idle_destination_that_holds_events_ends_and_a_grant_wakes_it(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(config(receiver) + QUICK).start()
    running.post([track(0, subject="zoe", consent={"measurement": True})])
    loaded = running.until_delivered("crm", 1)
    held = track(1, subject="anne")
    running.post([held])
    until_held(running, "crm", 1)
    running.until("crm", "stopped", lambda one: one.state == "registered" and one.pid is None)

    tell(running, "anne", measurement=True)

    status = running.until_delivered("crm", 2)
    assert status.epoch > loaded.epoch
    assert receiver.ids()[1:] == ids([held])

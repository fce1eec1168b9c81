from __future__ import annotations

import json

from tests.end_to_end.harness import ARCHIVE, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver

CONFIG = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.crm]
type = "webhook"
requires = { all = ["measurement", "functionality"] }
url = "URL"
[destinations.ads]
type = "null"
requires = ["marketing"]
"""

FIELDS = set(
    [
        "id",
        "type",
        "state",
        "loading",
        "loaded",
        "error",
        "last_attempt",
        "retry_count",
        "next_attempt_at",
        "reason",
        "epoch",
        "pid",
        "loaded_at",
        "last_used",
        "lag_events",
        "lag_seconds",
        "accepted",
        "delivered",
        "pending",
        "held",
        "dead",
        "denied",
        "expired",
        # what is told beyond the accounts: why, and how calls went
        "denied_by",
        "expired_by",
        "breaker",
        "unknown_outcomes",
        "delivered_unenforced",
        "redacted",
        "overrides_plugin_consent",
    ]
)


def start(system: MakeSystem, receiver: Receiver) -> System:
    return system(CONFIG.replace("URL", receiver.url)).start()


def test_status_prints_every_field_and_the_counts(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)
    running.post([track(consent={"measurement": True, "functionality": True})])
    running.until_delivered("crm", 1)
    poll("both to be idle", lambda: json.loads(running.admin("stats", "--json").stdout)["cached"] == 2)

    answer = running.admin("status", "--json")
    table = running.admin("status")
    one = running.admin("status", "crm")

    printed = json.loads(answer.stdout)
    assert {d["id"] for d in printed["destinations"]} == {"archive", "crm", "ads"}
    assert all(set(d) == FIELDS for d in printed["destinations"])
    assert printed["stats"] == {
        "registered": 3,
        "loaded": 2,
        "loading": 0,
        "failed": 0,
        "cached": 2,
        "suppressed": 0,
        "evicted_for_memory": 0,
    }
    assert "crm" in table.stdout and "loaded" in table.stdout
    assert "last_attempt" in one.stdout


def test_commands_steer_destinations(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)

    loaded = running.admin("load", "archive", "ads", "--json")
    preloaded = running.admin("preload", "--consent", "measurement,functionality", "--json")
    states = {name: one.loaded for name, one in running.statuses().items()}
    paused = running.admin("pause", "crm")
    running.until("crm", "paused", lambda s: s.state == "paused" and s.pid is None)
    running.post([track(consent={"measurement": True, "functionality": True})])
    waiting = running.until("crm", "behind", lambda s: s.pending == 1)
    resumed = running.admin("resume", "crm")
    running.until_delivered("crm", 1)
    running.admin("unload", "crm")
    running.until("crm", "unloaded", lambda s: s.state == "registered")
    cleared = running.admin("clear")
    running.until("archive", "unloaded", lambda s: s.state == "registered")

    assert json.loads(loaded.stdout) == {"archive": None, "ads": None}
    assert json.loads(preloaded.stdout) == {"archive": None, "crm": None}
    assert states == {"archive": True, "crm": True, "ads": True}
    assert waiting.state == "paused"
    assert (paused.returncode, resumed.returncode, cleared.returncode) == (0, 0, 0)


def test_pause_survives_a_restart(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)
    running.admin("pause", "archive")

    running.stop()
    running.start()
    running.post([track()])

    running.until("crm", "done with it", lambda s: s.held == 1)
    archive = running.status("archive")
    assert (archive.state, archive.pending, archive.pid) == ("paused", 1, None)


def test_unknown_destination_is_refused_with_its_name(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)

    answers = [running.admin(verb, "crn") for verb in ("status", "unload", "retry", "reset", "pause", "resume", "load")]

    assert [a.returncode for a in answers] == [1] * 7
    assert all("crn" in a.stdout + a.stderr for a in answers)


def test_send_and_explain_tell_the_story_of_an_event(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)

    sent = running.admin("send", "Order Completed", "--user-id", "u1", "--consent", "measurement,-marketing", "--json")
    message_id = json.loads(sent.stdout)["messageId"]
    running.until_delivered("archive", 1)
    running.until("crm", "holding it", lambda s: s.held == 1)
    story = json.loads(running.admin("explain", message_id, "--json").stdout)
    told = running.admin("explain", message_id)

    (event,) = story["events"]
    outcomes = {fate["destination"]: fate["outcome"] for fate in event["destinations"]}
    assert outcomes == {"archive": "delivered", "crm": "held", "ads": "denied"}
    assert event["consent"] == {"measurement": True, "marketing": False}
    assert "functionality" in told.stdout


def test_commands_without_a_running_system_exit_with_3(system: MakeSystem, receiver: Receiver) -> None:
    stopped = system(CONFIG.replace("URL", receiver.url))

    answers = [stopped.admin(*a) for a in (["status"], ["stats"], ["stop"], ["send", "Hi"], ["pause", "crm"])]

    assert [a.returncode for a in answers] == [3] * 5
    assert all("sluicegate serve" in a.stderr for a in answers)


def test_wrong_usage_exits_with_2(system: MakeSystem, receiver: Receiver) -> None:
    stopped = system(CONFIG.replace("URL", receiver.url))

    answers = [stopped.admin(*a) for a in (["no-such-command"], ["load"], ["status", "--no-such-option"])]

    assert [a.returncode for a in answers] == [2] * 3


def test_stop_ends_the_running_system(system: MakeSystem, receiver: Receiver) -> None:
    running = start(system, receiver)

    answer = running.admin("stop")

    assert answer.returncode == 0
    assert running.wait() == 0


def test_validate_reports_every_mistake(system: MakeSystem, receiver: Receiver) -> None:
    broken = system(CONFIG.replace("URL", "not a url").replace('requires = ["marketing"]', "") + 'typo = "x"\n')

    answer = broken.admin("validate", str(broken.config_path))
    serve = broken.admin("serve")

    assert answer.returncode == serve.returncode == 2
    for key in ("destinations.crm.url", "destinations.ads.requires", "destinations.ads.typo"):
        assert key in answer.stderr
        assert key in serve.stderr


def test_init_writes_a_configuration_that_validates(system: MakeSystem, receiver: Receiver) -> None:
    empty = system(CONFIG, environ={"WEB_WRITE_KEY": "k" * 20})
    path = empty.folder / "new.toml"

    written = empty.admin("init", str(path))
    again = empty.admin("init", str(path))
    valid = empty.admin("validate", str(path))

    assert written.returncode == 0
    assert again.returncode == 1
    assert valid.returncode == 0, valid.stderr


def test_destination_that_was_removed_is_shown_by_itself_too(system: MakeSystem) -> None:
    running = system(ARCHIVE + '[destinations.crm]\ntype = "null"\nrequires = ["necessary"]\n').start()
    running.stop()
    running.config_path.write_text(running.config_path.read_text().partition("[destinations.crm]")[0])
    running.start()

    both = json.loads(running.admin("status", "--json").stdout)["destinations"]
    one = running.admin("status", "crm", "--json")
    in_full = running.admin("status", "crm")

    assert [(row["id"], row["state"]) for row in both] == [("archive", "registered"), ("crm", "removed")]
    assert json.loads(one.stdout)["destinations"] == both[1:], one.stderr
    assert "removed" in in_full.stdout

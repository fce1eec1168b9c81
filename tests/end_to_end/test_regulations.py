from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sluicegate.consent.regulation import Kind, SubjectKind
from sluicegate.delivery.regulating import count_traces, put_in_force
from sluicegate.paths import DataDir
from tests.delivery.erasing_harness import traces
from tests.end_to_end.harness import MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_withdrawal import Held

KEY = "privacy-key"
CONFIG = """
[gateway.regulation_keys]
privacy = "privacy-key"
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "{url}"
batch_size = 20
in_flight = 1
[destinations.ads]
type = "null"
requires = ["marketing"]
"""
YES = {"measurement": True}
ANNE, BEN = "anne-5b21", "ben-77aa"
CANARY = "secret-of-anne"
ERASED_WITHIN_S = 90.0


def of(subject: str, number: int = 0, **more: Any) -> dict[str, Any]:
    event = track(number, consent=YES, subject=subject)
    secret = CANARY if subject == ANNE else "public"
    return {**event, "messageId": f"{subject}-{number}", "properties": {"secret": secret, "pad": "x" * 500}, **more}


def ask(running: System, kind: str, *ids: str) -> str:
    body = {"regulationType": kind, "subjectType": "ANONYMOUS_ID", "subjectIds": ids}
    headers = {"Authorization": f"Bearer {KEY}"}
    status, answer = running.request("POST", "/v1/regulations", json.dumps(body).encode(), headers)
    assert status == 200, answer
    id_: str = json.loads(answer)["data"]["regulateId"]
    return id_


def stands(running: System, id_: str) -> Mapping[str, Any]:
    status, answer = running.request("GET", f"/v1/regulations/{id_}", headers={"Authorization": f"Bearer {KEY}"})
    assert status == 200, answer
    found: Mapping[str, Any] = json.loads(answer)["data"]["regulation"]
    return found


def until_finished(running: System, id_: str) -> Mapping[str, Any]:
    def finished() -> Mapping[str, Any] | None:
        found = stands(running, id_)
        return found if found["overallStatus"] != "RUNNING" else None

    done: Mapping[str, Any] = poll("the regulation to be finished", finished, timeout_s=ERASED_WITHIN_S)
    return done


def erased(running: System, *arguments: str) -> dict[str, Any]:
    result = running.admin("erase", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refuse_anne(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
    return (400 if CANARY in json.dumps(body) else 200), {}


def test_statement_48_nothing_is_taken_of_suppressed_people_by_http_or_by_actors(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([of(BEN)])

    ask(running, "SUPPRESS_ONLY", ANNE)
    accepted = running.post([of(ANNE, 1), of(ANNE, 2), of(BEN, 1)])["accepted"]
    running.client.track("Seen", anonymous_id=ANNE, consent=YES, properties={"secret": CANARY})
    running.client.identify(user_id=BEN, anonymous_id=ANNE)
    verdicts = running.client.flush()
    running.client.track("Seen", anonymous_id=BEN, consent=YES)
    running.client.flush()

    running.until_delivered("crm", 3)
    counted = json.loads(running.admin("stats", "--json").stdout)
    status = json.loads(running.admin("status", "--json").stdout)
    table = running.admin("status").stdout
    assert (accepted, verdicts) == (3, [])
    assert counted["suppressed"] == status["stats"]["suppressed"] == 4
    assert "4 events of suppressed people were not taken" in table
    assert traces(running.data_dir, ANNE, CANARY) == []


def test_statement_49_erasing_over_http_leaves_no_trace_in_any_file_while_the_system_runs(
    system: MakeSystem, receiver: Receiver
) -> None:
    receiver.answer = refuse_anne
    running = system(CONFIG.format(url=receiver.url)).start()
    for number in range(10):
        running.post([of(BEN, number * 2), of(ANNE, number), of(BEN, number * 2 + 1)])
    dead = running.until("crm", "done", lambda one: one.delivered == 20 and one.dead == 10)
    held = running.until("ads", "holding", lambda one: one.held == 30)
    before = traces(running.data_dir, ANNE, CANARY)

    id_ = ask(running, "SUPPRESS_WITH_DELETE", ANNE)
    accepted = running.post([of(ANNE, 99)])["accepted"]
    found = until_finished(running, id_)

    crm = running.until("crm", "without dead letters", lambda one: one.dead == 0)
    ads = running.until("ads", "holding the others", lambda one: one.held == 20)
    assert (dead.accepted, held.accepted, accepted, len(before) > 0) == (30, 30, 1, True)
    assert (found["erased"]["events"], found["erased"]["deadLetters"]) == (10, 10)
    assert found["overallStatus"] == "PARTIAL_SUCCESS"
    statuses = {one["id"]: one["status"] for one in found["streamStatus"][0]["destinationStatus"]}
    assert statuses == {"crm": "NOT_SUPPORTED", "ads": "FINISHED"}
    assert (crm.denied_by, ads.denied_by) == ({"erased": 10}, {"erased": 10})
    assert traces(running.data_dir, ANNE, CANARY) == []
    assert running.stop() == 0
    assert traces(running.data_dir, ANNE, CANARY) == []


def test_statement_49_a_regulation_survives_kill_9_right_after_its_answer(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    for number in range(50):
        running.post([of(ANNE, number), of(BEN, number)])

    id_ = ask(running, "SUPPRESS_WITH_DELETE", ANNE)
    running.kill()
    half = traces(running.data_dir, CANARY)
    running.start()
    found = until_finished(running, id_)

    assert len(half) > 0
    assert found["erased"]["events"] == 50
    assert traces(running.data_dir, ANNE, CANARY) == []
    running.post([of(ANNE, 1_000), of(BEN, 1_000)])
    running.until("ads", "holding the others", lambda one: one.held == 51 and one.pending == 0)
    assert traces(running.data_dir, ANNE, CANARY) == []


def test_statement_50_after_the_answer_no_call_begins_with_what_was_erased_and_again_is_no_operation(
    system: MakeSystem, receiver: Receiver
) -> None:
    held = Held()
    receiver.answer = held
    running = system(CONFIG.format(url=receiver.url)).start()
    first = of(ANNE, 0)
    running.post([first])
    poll("a call to have begun", lambda: held.begun)
    running.post([of(subject, number) for number in range(1, 150) for subject in (ANNE, BEN)])

    ask(running, "SUPPRESS_WITH_DELETE", ANNE)
    begun = [list(ids) for ids in held.begun]
    held.release.set()
    crm = running.until("crm", "done", lambda one: one.pending == 0)
    running.stop()
    erased(running, "--anonymous-id", ANNE)
    again = running.admin("erase", "--anonymous-id", ANNE)

    assert begun == [[first["messageId"]]]
    assert [id_ for id_ in receiver.ids() if ANNE in id_] == [first["messageId"]]
    assert (crm.delivered, crm.denied_by) == (150, {"erased": 149})
    assert traces(running.data_dir, ANNE, CANARY) == []
    assert (again.returncode, "nothing was left to erase" in again.stdout) == (0, True)


def test_statement_51_after_unsuppress_the_subject_begins_undecided(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([of(ANNE, 1)])
    running.until_delivered("crm", 1)
    ask(running, "SUPPRESS_ONLY", ANNE)
    running.post([of(ANNE, 2)])

    result = running.admin("unsuppress", "--anonymous-id", ANNE)
    silent = {**of(ANNE, 3), "context": {}}
    running.post([silent])

    crm = running.until("crm", "holding", lambda one: one.held == 1)
    shown = running.admin("consent", "show", "--anonymous-id", ANNE)
    assert (result.returncode, receiver.ids()) == (0, [of(ANNE, 1)["messageId"]])
    assert (crm.accepted, crm.delivered) == (2, 1)
    assert "undecided on every purpose" in shown.stdout


def test_the_command_watches_the_running_system_erase(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([of(ANNE), of(BEN)])
    running.until_delivered("crm", 2)

    counted = running.admin("erase", "--anonymous-id", ANNE, "--dry-run")
    before = traces(running.data_dir, CANARY)
    found = erased(running, "--anonymous-id", ANNE)
    listed = json.loads(running.admin("regulations", "--json").stdout)

    assert counted.stdout == "1 events and 0 dead letters (dry run, nothing changed)\n"
    assert len(before) > 0
    assert (found["overallStatus"], found["erased"]["events"]) == ("PARTIAL_SUCCESS", 1)
    assert traces(running.data_dir, ANNE, CANARY) == []
    assert listed == [found]


def test_the_commands_work_while_nothing_runs(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([of(ANNE), of(BEN)])
    running.until_delivered("crm", 2)
    running.stop()

    refused = running.admin("erase", "--anonymous-id", ANNE, "--no-wait")
    found = erased(running, "--anonymous-id", ANNE, "--delete-only")
    suppressed = running.admin("suppress", "--anonymous-id", BEN, "--json")
    one = running.admin("regulations", found["id"], "--json")
    unknown = running.admin("regulations", "nothing")
    nobody = running.admin("suppress")

    assert (refused.returncode, unknown.returncode, nobody.returncode) == (3, 1, 2)
    assert (found["regulationType"], found["erased"]["events"]) == ("DELETE_ONLY", 1)
    assert json.loads(suppressed.stdout)["overallStatus"] == "FINISHED"
    assert json.loads(one.stdout) == found
    assert traces(running.data_dir, ANNE, CANARY) == []


def test_a_regulation_of_a_stopped_system_that_was_interrupted_is_finished_by_the_next_start(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([of(ANNE, number) for number in range(10)])
    running.until_delivered("crm", 10)
    running.stop()
    asked = put_in_force(running.data_dir, Kind.DELETE_ONLY, SubjectKind.ANONYMOUS_ID, [ANNE]).regulation

    running.start()
    found = until_finished(running, asked.id)

    assert found["erased"]["events"] == 10
    assert traces(running.data_dir, ANNE, CANARY) == []


def test_counting_begins_no_ledger(tmp_path: Any) -> None:
    data_dir = DataDir(tmp_path)

    found = count_traces(data_dir, SubjectKind.USER_ID, [ANNE], progress=lambda done, total: None)

    assert (found.events, found.letters) == (0, 0)
    assert list(tmp_path.iterdir()) == []

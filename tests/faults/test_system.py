from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from sluicegate.accounts import DAMAGED
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.commanded_disk import FOLDER, Commands
from tests.end_to_end.harness import ADS, CRM, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver

CONFIG = CRM + ADS


def damage(system: System, first: int, column: str) -> None:
    """Change a number beside a row while nothing runs; no older copy of the row stays."""
    log = SqliteLog(system.data_dir.event_log)
    log._db.execute(f"UPDATE rows SET {column} = {column} + 1 WHERE first = ?", (first,))
    log.close()


def test_f19_damaged_rows_are_left_out_counted_and_explained(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    receiver.answer = lambda body: (503, {})
    batches = [[track(n, consent={"measurement": True}) for n in range(5)] for _ in range(4)]
    for batch in batches:
        running.post(batch)
    running.until("ads", "settled", lambda s: s.pending == 0)
    running.stop()
    damage(running, 6, "payload_crc")
    damage(running, 11, "seal")
    receiver.answer = lambda body: (200, {})

    running.start()
    crm = running.until("crm", "settled", lambda s: s.pending == 0)
    metrics = running.request("GET", "/metrics")[1].decode()
    table = running.admin("status").stdout
    story = json.loads(running.admin("explain", batches[1][0]["messageId"], "--json").stdout)
    unknown = running.admin("explain", batches[2][0]["messageId"])
    refused = running.admin("fsck")

    assert (crm.delivered, crm.expired, crm.expired_by) == (10, 10, {DAMAGED: 10})
    assert set(receiver.ids()) == {event["messageId"] for batch in (batches[0], batches[3]) for event in batch}
    assert {(one.first, one.last) for one in Quarantine(running.data_dir.root).all()} == {(6, 10), (11, 15)}
    assert f'sluicegate_destination_expired{{destination="crm",reason="{DAMAGED}"}} 10.0' in metrics
    assert f"10 expired: {DAMAGED}" in table
    (fate,) = [one for one in story["events"][0]["destinations"] if one["destination"] == "crm"]
    assert (fate["outcome"], DAMAGED in fate["why"]) == ("expired", True)
    assert "events that were damaged in the log" in unknown.stderr
    assert refused.returncode == 2
    assert "in use by a running Sluicegate" in refused.stderr


def posts(system: System, owed: list[dict[str, Any]]) -> bool:
    """Whether an event is accepted; it is owed then."""
    event = track(consent={"measurement": True})
    try:
        system.post([event])
    except (AssertionError, OSError, HTTPException):
        return False
    owed.append(event)
    return True


def test_f16_failed_fsync_ends_the_gateway_and_it_comes_back(
    system: MakeSystem, receiver: Receiver, tmp_path: Path
) -> None:
    disk = Commands(tmp_path / "disk")
    environ = {"PYTHONPATH": str(Path(__file__).parent / "site"), FOLDER: str(disk.folder)}
    running = system(CONFIG.format(url=receiver.url), environ=environ).start()
    owed = [track(n, consent={"measurement": True}) for n in range(3)]
    running.post(owed)
    disk.arm("fail-sync")

    with pytest.raises((AssertionError, OSError, HTTPException)):
        running.post([track(consent={"measurement": True})])
    poll("the gateway to be back", lambda: posts(running, owed))

    failed = {by for by, how in disk.syncs() if how == "failed"}
    its_syncs = [how for by, how in disk.syncs() if by in failed]
    running.until("crm", "settled", lambda s: s.pending == 0)
    assert its_syncs.count("failed") == 1
    assert its_syncs[-1] == "failed"
    assert {event["messageId"] for event in owed} <= set(receiver.ids())
    assert "has ended unexpectedly; starting it again" in running.log()


def test_f20_log_that_lost_its_end_is_refused_by_name_and_starts_after_a_repair(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    receiver.answer = lambda body: (503, {})
    running.post([track(n, consent={"measurement": True}) for n in range(5)])
    running.stop()
    receiver.answer = lambda body: (200, {})
    with running.data_dir.event_log.open("r+b") as file:
        file.truncate(8192)
    before = running.data_dir.event_log.read_bytes()

    refused = running.admin("serve")
    repaired = running.admin("fsck", "--repair")
    running.start()
    running.post([track(5, consent={"measurement": True})])
    crm = running.until_delivered("crm", 1)

    assert refused.returncode == 1
    assert "fsck --repair" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (repaired.returncode, "1-5" in repaired.stdout) == (1, True)
    assert (crm.accepted, crm.expired_by) == (6, {DAMAGED: 5})
    assert [old.read_bytes() for old in running.data_dir.root.glob("events.db.damaged-*Z")] == [before]

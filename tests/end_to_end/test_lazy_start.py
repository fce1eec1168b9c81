from __future__ import annotations

import os

from sluicegate.actors.scheduling import NICENESS
from sluicegate.lock import holder
from tests.end_to_end.harness import ADS, ARCHIVE, CRM, MakeSystem, poll, track
from tests.end_to_end.receiver import Receiver

DESTINATIONS = ARCHIVE + CRM + ADS


def test_destination_starts_with_its_first_permitted_event(system: MakeSystem, receiver: Receiver) -> None:
    running = system(DESTINATIONS.format(url=receiver.url)).start()
    before = running.statuses()

    running.post([track(consent={}, subject="silent"), track(consent={"measurement": False})])
    archive = running.until("archive", "done with two", lambda s: s.delivered == 2 and s.loaded)
    crm_after_denials = running.until("crm", "done with its denials", lambda s: s.pending == 0 and s.denied > 0)
    wanted = track(consent={"measurement": True})
    running.post([wanted])
    crm = running.until("crm", "done with one", lambda s: s.delivered == 1 and s.loaded)

    assert {one.state for one in before.values()} == {"registered"}
    assert archive.loaded and archive.pid
    assert crm_after_denials.last_attempt is None and crm_after_denials.pid is None
    assert (crm_after_denials.denied_by, crm_after_denials.held) == ({"consent_denied": 1}, 1)
    assert (crm.pending, crm.denied, crm.held) == (0, 1, 1)
    assert receiver.ids() == [wanted["messageId"]]


def test_destination_nobody_consented_to_is_never_started(system: MakeSystem, receiver: Receiver) -> None:
    running = system(DESTINATIONS.format(url=receiver.url)).start()

    running.post([track(consent={"measurement": True, "marketing": False}) for _ in range(300)])
    running.until_delivered("crm", 300)
    ads = running.until("ads", "done with its denials", lambda s: s.pending == 0)

    assert (ads.state, ads.last_attempt, ads.epoch, ads.pid) == ("registered", None, 0, None)
    assert (ads.accepted, ads.denied) == (300, 300)


def test_idle_destination_stops_and_the_next_event_wakes_it(system: MakeSystem, receiver: Receiver) -> None:
    running = system('[supervisor]\nidle_ttl = "1s"\n' + DESTINATIONS.format(url=receiver.url)).start()
    running.post([track(consent={"measurement": True})])
    first = running.until_delivered("crm", 1)

    running.until("crm", "stopped", lambda s: s.state == "registered" and s.pid is None)
    running.post([track(consent={"measurement": True})])
    second = running.until_delivered("crm", 2)

    assert holder(running.data_dir.presence("crm")) == second.pid
    assert second.epoch > first.epoch
    assert len(receiver.ids()) == 2


def test_destinations_leave_the_processor_to_those_whom_clients_wait_for(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()
    running.post([track(consent={})])
    archive = running.until_delivered("archive", 1)

    assert archive.pid is not None
    assert _niceness(archive.pid) == min(19, _niceness(running.pid) + NICENESS)
    everywhere = os.sched_getaffinity(running.pid)
    others = everywhere - {max(everywhere)} or everywhere
    poll("one processor is left to others", lambda: os.sched_getaffinity(archive.pid or 0) == others)


def _niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)

from __future__ import annotations

import http.client
from typing import Any

from sluicegate.bench.events import Workload
from sluicegate.bench.processes import Helper

WORK = Workload("run")


def _send(port: int, *numbers: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/hook", b'{"batch":[%s]}' % b",".join(WORK.event(number) for number in numbers))
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"{}")
    connection.close()


def _count(helper: Helper, *, count: int) -> dict[str, Any]:
    return helper.ask({"do": "count", "run": "run", "count": count, "purpose": "measurement"})


def test_receiver_reports_missing_and_repeated_ids(receivers: Any) -> None:
    _send(receivers.ports[0], 0, 1)
    _send(receivers.ports[0], 1, 3)

    report = _count(receivers.helpers[0], count=4)

    assert (report["lost"], report["duplicates"], report["unexpected"]) == (1, 1, 0)
    assert report["examples"] == ["lost run-00000002"]


def test_receiver_forgets_at_reset(receivers: Any) -> None:
    _send(receivers.ports[0], 0)

    receivers.helpers[0].ask({"do": "reset"})

    assert receivers.helpers[0].ask({"do": "poll"}) == {"requests": 0, "n_bytes": 0}
    assert _count(receivers.helpers[0], count=1)["lost"] == 1


def test_receiver_takes_big_bodies_and_late_answers(receivers: Any) -> None:
    receivers.helpers[1].ask({"do": "reset", "delay_ms": 5})

    _send(receivers.ports[1], *range(2_000))

    assert _count(receivers.helpers[1], count=2_000)["lost"] == 0

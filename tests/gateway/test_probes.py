from __future__ import annotations

import threading

from prometheus_client.parser import text_string_to_metric_families

from sluicegate.gateway.limits import Limits
from sluicegate.gateway.readiness import HOLD_OFF_S, Readiness
from sluicegate.messages.status import DestinationStatus, Stats, Statuses
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import PATIENCE_S, Answered, Client, RunningGateway, batch, request, track
from tests.gateway.test_commit import StubbornLog

STATUSES = Statuses(
    "1",
    (
        DestinationStatus(
            "archive",
            "file",
            "loaded",
            accepted=10,
            delivered=5,
            pending=2,
            dead=1,
            denied=2,
            denied_by={"undecided": 2},
            lag_seconds=0.5,
        ),
    ),
    Stats(registered=1, loaded=1, loading=0, failed=0, cached=0),
)

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(answer: Answered) -> Samples:
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_health_is_200(client: Client) -> None:
    assert client.get("/health").json == {"status": "ok"}


def test_ready_repeats_the_launchers_reasons(gateway: RunningGateway, client: Client) -> None:
    before = client.get("/ready")
    gateway.call(lambda: gateway.server.readiness.launcher_says(False, ["the router restarts"]))
    unready = client.get("/ready")
    gateway.call(lambda: gateway.server.readiness.launcher_says(True, []))
    after = client.get("/ready")

    assert (before.status, unready.status, after.status) == (200, 503, 200)
    assert unready.json["reasons"] == ["the router restarts"]
    assert (unready.json["success"], unready.json["code"]) == (False, "not_ready")


def test_probes_are_answered_while_too_much_is_in_hand(start_gateway: StartGateway) -> None:
    log = StubbornLog()
    gateway = start_gateway(limits=Limits(max_requests=1), open_log=lambda: log)
    waiting, other = gateway.client(), gateway.client()
    waiting.send(request("/v1/track", track()))
    assert log.entered.wait(PATIENCE_S)

    answers = [other.get(path).status for path in ("/health", "/ready", "/metrics")]

    log.allowed.set()
    assert answers == [200, 200, 429]
    assert waiting.answer().status == 200
    waiting.close()
    other.close()


def test_not_ready_before_the_launcher_says_so() -> None:
    assert Readiness().reasons(0.0) == ["the launcher has not reported yet"]


def test_failed_append_makes_unready_for_a_while_only() -> None:
    readiness = Readiness()
    readiness.launcher_says(True, ())
    readiness.append_failed("disk full", 100.0)

    assert len(readiness.reasons(100.0)) == 1
    assert readiness.reasons(100.0 + HOLD_OFF_S) == []


def test_metrics_count_requests_and_events(client: Client) -> None:
    client.post("/v1/batch", {"batch": [track("a"), track("b"), 7]})
    client.post("/v1/track", track())
    client.post("/v1/track", track(), headers=b"")
    client.post("/secret-looking-path", {})

    found = samples(client.get("/metrics"))

    assert found["sluicegate_http_requests_total", ("/v1/batch", "200")] == 1
    assert found["sluicegate_http_requests_total", ("/v1/track", "200")] == 1
    assert found["sluicegate_http_requests_total", ("/v1/track", "401")] == 1
    assert found["sluicegate_http_requests_total", ("other", "404")] == 1
    assert found["sluicegate_events_accepted_total", ()] == 3
    assert found["sluicegate_commit_events_sum", ()] == 3
    assert found["sluicegate_commit_events_count", ()] == found["sluicegate_commit_events_bucket", ("+Inf",)] == 2
    assert found["sluicegate_commit_seconds_count", ()] == 2
    assert sum(value for (name, _), value in found.items() if name == "sluicegate_events_rejected_total") == 1


def test_metrics_show_accounts_that_balance(start_gateway: StartGateway) -> None:
    client = start_gateway(status_provider=lambda: STATUSES).client()

    found = samples(client.get("/metrics"))
    client.close()

    accounts = {labels[0]: value for (name, labels), value in found.items() if name == "sluicegate_destination_events"}
    assert accounts.pop("accepted") == sum(accounts.values()) == 10
    assert found["sluicegate_destination_denied", ("archive", "undecided")] == 2
    assert found["sluicegate_destination_state", ("archive", "loaded")] == 1
    assert found["sluicegate_destinations", ("registered",)] == 1
    assert found["sluicegate_supervisor_up", ()] == 1


def test_supervisor_is_asked_once_for_scrapes_of_the_same_second(start_gateway: StartGateway) -> None:
    asked: list[int] = []

    def provide() -> Statuses:
        asked.append(1)
        return STATUSES

    client = start_gateway(status_provider=provide).client()

    client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
    answers = [samples(client.answer()) for _ in range(5)]

    assert len(asked) == 1
    assert all(found["sluicegate_supervisor_up", ()] == 1 for found in answers)
    client.close()


def test_supervisor_that_hangs_or_fails_spoils_no_scrape(start_gateway: StartGateway) -> None:
    release = threading.Event()

    def provide() -> Statuses | None:
        release.wait(PATIENCE_S)
        raise RuntimeError("the supervisor is gone")

    running = start_gateway(status_provider=provide)
    running.call(lambda: setattr(running.server._probes, "_status_timeout_s", 0.05))
    client, other = running.client(), running.client()

    client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    meanwhile = other.post("/v1/batch", batch("a"))
    hanging = samples(client.answer())
    release.set()
    failing = samples(client.get("/metrics"))

    assert meanwhile.status == 200
    assert hanging["sluicegate_supervisor_up", ()] == 0
    assert failing["sluicegate_supervisor_up", ()] == 0
    client.close()
    other.close()

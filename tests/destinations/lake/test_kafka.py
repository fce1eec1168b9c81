from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import CredentialsRefused, NotReady, Retry
from sluicegate.network import Network
from sluicegate.testing.destination_contract import (
    DestinationContract,
    VendorAnswer,
    make_batch,
    make_destination,
    make_event,
)

if TYPE_CHECKING:
    from tests.doubles.kafka_cluster import KafkaCluster

PRODUCE = 0
TOPIC_REFUSED, TOO_LARGE, OUT_OF_ORDER, NOT_ENOUGH_REPLICAS, TRANSPORT = 29, 10, 45, 19, -195


def make(kafka: KafkaCluster, tmp_path: Path, **settings: Any) -> Destination:
    pytest.importorskip("confluent_kafka")
    from sluicegate.destinations.kafka import Kafka

    defaults: dict[str, Any] = {"brokers": kafka.brokers, "topic": "events", "timeout_s": 4}
    return make_destination(Kafka, tmp_path, **defaults | settings)


def ready(kafka: KafkaCluster, tmp_path: Path, **settings: Any) -> Destination:
    made = make(kafka, tmp_path, **settings)
    made.initialize()
    return made


def ids(kafka: KafkaCluster, topic: str = "events") -> list[str]:
    return [record.message_id for record in kafka.records(topic)]


def until_delivered(destination: Destination, batch: Batch) -> None:
    """Deliver as often as it takes: the client connects again in a time of its own."""
    while True:
        try:
            assert destination.deliver(batch) is None
        except Retry:
            continue
        return


class TestKafka(DestinationContract):
    @pytest.fixture(autouse=True)
    def peer(self, kafka: KafkaCluster) -> None:
        self.kafka = kafka

    def make(self, tmp_path: Path) -> Destination:
        return make(self.kafka, tmp_path)

    def received(self) -> Sequence[str]:
        return ids(self.kafka)

    def script(self, answer: VendorAnswer) -> None:
        if answer == "busy":
            self.kafka.stop()
        else:
            self.kafka.fail(PRODUCE, *[TOPIC_REFUSED if answer == "refused" else TOO_LARGE] * 20)


def test_records_have_key_headers_and_the_event_as_it_was(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, headers={"site": "shop"})

    destination.deliver(make_batch(["m-1"], raws=[make_event("m-1", price=1.10)]))
    (record,) = kafka.records()
    destination.destroy()

    assert record.value == make_event("m-1", price=1.10)
    assert record.key == b"visitor"
    assert record.headers == {"message-id": b"m-1", "type": b"track", "site": b"shop"}


def test_events_of_one_subject_are_in_one_partition_in_order(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path)
    raws = [make_event(f"m-{n}").replace(b"visitor", b"visitor-%d" % (n % 20)) for n in range(400)]

    for start in range(0, 400, 100):
        piece = slice(start, start + 100)
        destination.deliver(make_batch([f"m-{n}" for n in range(400)][piece], raws=raws[piece]))
    found = kafka.records()
    destination.destroy()

    places: dict[bytes | None, set[int]] = {}
    numbers: dict[bytes | None, list[int]] = {}
    for record in found:
        places.setdefault(record.key, set()).add(record.partition)
        numbers.setdefault(record.key, []).append(int(record.message_id[2:]))
    assert len(found) == 400
    assert all(len(one) == 1 for one in places.values())
    assert all(one == sorted(one) for one in numbers.values())
    assert len({number for one in places.values() for number in one}) > 1


def test_error_that_passes_while_the_client_tries_again_repeats_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path)
    kafka.fail(PRODUCE, NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS)

    assert destination.deliver(make_batch(["m-1", "m-2"])) is None

    assert ids(kafka) == ["m-1", "m-2"]
    destination.destroy()


def test_record_too_large_is_rejected_alone(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, max_message_bytes=2_000)
    raws = [make_event("m-1"), make_event("m-2", text="x" * 3_000), make_event("m-3")]

    outcome = destination.deliver(make_batch(["m-1", "m-2", "m-3"], raws=raws))

    assert isinstance(outcome, Outcome)
    assert list(outcome.rejected) == [1] and not outcome.again
    assert ids(kafka) == ["m-1", "m-3"]
    destination.destroy()


def test_what_a_broker_refused_together_goes_again_and_the_rest_does_not(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path)
    destination.deliver(make_batch(["first"]))
    raws = [make_event(f"m-{n}").replace(b"visitor", b"visitor-%d" % n) for n in range(40)]
    kafka.fail(PRODUCE, TOO_LARGE)

    outcome = destination.deliver(make_batch([f"m-{n}" for n in range(40)], raws=raws))

    assert isinstance(outcome, Outcome)
    assert outcome.again and not outcome.rejected
    delivered = {f"m-{n}" for n in range(40) if n not in outcome.again}
    assert delivered == set(ids(kafka)) - {"first"}
    destination.destroy()


def test_client_that_lost_its_place_is_replaced_and_no_event_lost(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path)
    destination.deliver(make_batch(["m-0"]))
    kafka.fail(PRODUCE, OUT_OF_ORDER)

    with pytest.raises(Retry, match="OUT_OF_ORDER"):
        destination.deliver(make_batch(["m-1", "m-2"]))
    again = destination.deliver(make_batch(["m-1", "m-2"]))

    assert again is None
    assert ids(kafka) == ["m-0", "m-1", "m-2"]
    destination.destroy()


def test_nothing_is_on_its_way_when_a_call_has_timed_out(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, timeout_s=1)
    kafka.stop()

    with pytest.raises(Retry):
        destination.deliver(make_batch(["m-1"]))
    kafka.start()
    until_delivered(destination, make_batch(["m-2"]))

    assert set(ids(kafka)) == {"m-2"}
    destination.destroy()


def test_missing_topic_pauses_and_test_finds_it(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, topic="nothere")

    with pytest.raises(CredentialsRefused, match="topic nothere: UNKNOWN_TOPIC"):
        destination.test()
    with pytest.raises(CredentialsRefused, match="UNKNOWN_TOPIC"):
        destination.deliver(make_batch(["m-1"]))

    destination.destroy()


def test_missing_topic_that_an_event_chose_costs_that_event_alone(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, topic_from_event=True)
    chosen = make_event("m-1").replace(b'"properties"', b'"integrations":{"Kafka":{"topic":"mine"}},"properties"')

    outcome = destination.deliver(make_batch(["m-1", "m-2"], raws=[chosen, make_event("m-2")]))

    assert isinstance(outcome, Outcome)
    assert list(outcome.rejected) == [0] and not outcome.again
    assert ids(kafka) == ["m-2"]
    destination.destroy()


def test_brokers_that_do_not_let_us_in_pause(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = make(kafka, tmp_path, username="user", password="pass-word")

    with pytest.raises(CredentialsRefused, match="SASL") as raised:
        destination.initialize()

    assert "pass-word" not in str(raised.value)
    destination.destroy()


def test_certificate_that_is_none_pauses(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = make(kafka, tmp_path, security="ssl", ca="nonsense")

    with pytest.raises(CredentialsRefused, match="cannot be made as configured"):
        destination.initialize()


def test_timeout_of_an_hour_is_one_that_the_client_takes(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    from sluicegate.destinations.kafka import Kafka
    from sluicegate.destinations.kafka_client import Client

    kafka = make_destination(Kafka, tmp_path, timeout_s=3_600, brokers="127.0.0.1:1", topic="events")

    Client(kafka.settings, kafka.context).close()


def test_brokers_that_are_away_are_waited_for(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = make(kafka, tmp_path, timeout_s=1)
    kafka.stop()

    with pytest.raises(NotReady, match="no broker can be reached"):
        destination.initialize()

    destination.destroy()


def test_private_brokers_need_to_be_allowed(kafka: KafkaCluster, tmp_path: Path) -> None:
    with pytest.raises(CredentialsRefused, match=r"127\.0\.0\.1"):
        make(kafka, tmp_path, network=Network()).initialize()


def test_address_that_a_broker_says_it_has_needs_to_be_allowed(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = make(kafka, tmp_path)
    kafka.advertise("169.254.169.254", 9092)

    with pytest.raises(CredentialsRefused, match="metadata"):
        destination.initialize()

    destination.destroy()


DIES = """
import os, signal, sys, threading
from pathlib import Path
from sluicegate.destinations.kafka import Kafka
from sluicegate.testing.destination_contract import make_batch, make_destination
destination = make_destination(Kafka, Path(sys.argv[1]), brokers=sys.argv[2], topic="events", timeout_s=20)
destination.initialize()
print("ready", flush=True)
sys.stdin.readline()
for number in range(0, 100_000, 50):
    destination.deliver(make_batch([f"m-{n}" for n in range(number, number + 50)]))
    print(number + 50, flush=True)
"""


def test_process_that_is_killed_has_lost_nothing_that_it_called_delivered(kafka: KafkaCluster, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", DIES, str(tmp_path), kafka.brokers]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    n_told = 0
    while n_told < 500:
        n_told = int(process.stdout.readline())

    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()

    n_told = max([n_told, *map(int, rest)])
    assert set(ids(kafka)) >= {f"m-{n}" for n in range(n_told)}


def test_connections_that_break_cost_no_event_and_repeat_none(kafka: KafkaCluster, tmp_path: Path) -> None:
    destination = ready(kafka, tmp_path, timeout_s=10)
    wanted = [f"m-{n}" for n in range(30)]

    for start in range(0, 30, 10):
        kafka.fail(PRODUCE, TRANSPORT)  # closes the connection instead of an answer
        until_delivered(destination, make_batch(wanted[start : start + 10]))
    destination.destroy()

    assert ids(kafka) == wanted

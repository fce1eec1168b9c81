from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import ARCHIVE, System, poll, track

if TYPE_CHECKING:
    from tests.doubles.kafka_cluster import KafkaCluster
    from tests.doubles.s3_server import S3Server

if not all(map(find_spec, ("obstore", "confluent_kafka", "moto"))):
    reason = "obstore, confluent-kafka or moto is not installed; pip install sluicegate[peers]"
    pytest.skip(reason, allow_module_level=True)

STREAM = """
[destinations.stream]
type = "kafka"
requires = ["measurement"]
test_on_load = true
brokers = "{brokers}"
topic = "events"
[destinations.stream.map]
drop = ["properties.secret"]
"""
LAKE = """
[destinations.lake]
type = "objectstore"
requires = ["measurement"]
test_on_load = true
batch_age = "0s"
url = "s3://events/raw"
endpoint = "{url}"
access_key_id = "key-of-tests"
secret_access_key = "${{S3_SECRET}}"
"""
ENVIRON = {"S3_SECRET": "secret-of-tests"}


@pytest.fixture
def kafka() -> Iterator[KafkaCluster]:
    from tests.doubles.kafka_cluster import KafkaCluster

    cluster = KafkaCluster()
    cluster.create("events")
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    from tests.doubles.s3_server import S3Server

    server = S3Server()
    server.make_bucket("events")
    yield server
    server.close()


def stored(s3: S3Server) -> dict[str, list[str]]:
    """Message ids by object."""
    lines = {name: gzip.decompress(content).splitlines() for name, content in s3.objects("events").items()}
    return {name: [json.loads(line)["messageId"] for line in found] for name, found in lines.items()}


def maps(pid: int | None) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_events_are_in_kafka_and_in_s3_and_each_library_in_one_process(
    kafka: KafkaCluster, s3: S3Server, system: Callable[..., System]
) -> None:
    text = STREAM.format(brokers=kafka.brokers) + LAKE.format(url=s3.url) + ARCHIVE
    running = system(text, environ=ENVIRON).start()
    wanted = [track(number, consent={"measurement": True}) for number in range(5)]
    wanted[0]["properties"]["secret"] = "dropped"

    running.post([*wanted, track(subject="refuses", consent={"measurement": False})])
    stream = running.until_delivered("stream", 5)
    lake = running.until_delivered("lake", 5)
    archive = running.until_delivered("archive", 6)

    ids = [event["messageId"] for event in wanted]
    records = kafka.records()
    assert [record.message_id for record in records] == ids
    assert b"dropped" not in b"".join(record.value for record in records)
    assert [id_ for found in stored(s3).values() for id_ in found] == ids
    libraries = {"librdkafka": stream.pid, "_obstore": lake.pid}
    for library, pid in libraries.items():
        assert library in maps(pid)
        others = {stream.pid, lake.pid, archive.pid, running.pid} - {pid}
        assert all(library not in maps(other) for other in others)
    assert "secret-of-tests" not in running.log()


def test_object_of_a_process_that_died_is_overwritten_and_not_repeated(
    s3: S3Server, system: Callable[..., System], tmp_path: Path
) -> None:
    marks = tmp_path / "failpoints"
    marks.mkdir()
    before = set(stored(s3))
    armed = {"SG_FP": "after_post:1:kill", "SG_FP_DIR": str(marks)}
    running = system(LAKE.format(url=s3.url), environ=ENVIRON | armed).start()
    wanted = [track(number, consent={"measurement": True}) for number in range(5)]

    running.post(wanted)
    poll("the process to die", lambda: (marks / "after_post").exists())
    running.until_delivered("lake", 5)

    (found,) = [ids for name, ids in stored(s3).items() if name not in before]
    assert found == [event["messageId"] for event in wanted]


def test_event_too_large_is_a_dead_letter_alone_and_a_missing_topic_pauses(
    kafka: KafkaCluster, system: Callable[..., System]
) -> None:
    text = STREAM.replace("test_on_load = true", "max_message_bytes = 2000").format(brokers=kafka.brokers)
    running = system(text + '[destinations.stream.topics]\nPage = "nothere"\n').start()
    wanted = [track(number, consent={"measurement": True}) for number in range(5)]
    wanted[2]["properties"]["text"] = "x" * 3_000

    running.post(wanted)
    delivered = running.until("stream", "done", lambda one: one.delivered == 4 and one.pending == 0)
    (letter,) = json.loads(running.admin("dead-letters", "list", "--json").stdout)
    running.post([track(consent={"measurement": True}) | {"event": "Page"}])
    paused = running.until("stream", "paused", lambda one: one.state == "paused")

    assert delivered.dead == 1
    assert "MSG_SIZE_TOO_LARGE" in letter["reason"]
    assert letter["messageId"] == wanted[2]["messageId"]
    assert "UNKNOWN_TOPIC_OR_PART" in str(paused.reason)
    assert (paused.delivered, paused.pending, paused.dead) == (4, 1, 1)


def test_simulate_shows_records_and_objects(system: Callable[..., System], tmp_path: Path) -> None:
    running = system(STREAM.format(brokers="kafka.example") + LAKE.format(url="http://127.0.0.1:1"), environ=ENVIRON)
    event = {"type": "track", "event": "Tested", "messageId": "m-1", "userId": "u", "properties": {"secret": 1, "n": 2}}
    (tmp_path / "event.json").write_text(json.dumps(event))

    stream = running.admin("simulate", "stream", str(tmp_path / "event.json"), "--json")
    lake = running.admin("simulate", "lake", str(tmp_path / "event.json"), "--json")

    (record,) = json.loads(stream.stdout)["requests"][0]["body"]
    assert (record["topic"], record["key"], record["value"]["properties"]) == ("events", "u", {"n": 2})
    body = json.loads(lake.stdout)["requests"][0]["body"]
    assert body["object"].startswith("s3://events/raw/lake/date=")
    assert body["lines"][0]["event"] == "Tested"


def test_destinations_lists_both_with_what_they_need(system: Callable[..., System]) -> None:
    running = system(ARCHIVE)

    shown = {name: running.admin("destinations", name).stdout for name in ("kafka", "objectstore")}

    assert "pip install 'sluicegate[kafka]'" in shown["kafka"]
    assert "pip install 'sluicegate[objectstore]'" in shown["objectstore"]
    assert "brokers" in shown["kafka"] and "storage_class" in shown["objectstore"]

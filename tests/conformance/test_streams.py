from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.config.settings import settings_for
from sluicegate.destinations.base import Batch
from sluicegate.destinations.kafka_records import Records
from sluicegate.destinations.kafka_settings import KafkaSettings
from sluicegate.destinations.objectstore_files import files_for
from sluicegate.destinations.objectstore_settings import ObjectStoreSettings

CASES = Path(__file__).parents[3] / "shared" / "conformance"
FOLDERS = {"kafka": "kafka", "objectstore": "s3"}

BY_THE_ORACLES_GATEWAY = ("request_ip",)
"""Members that the oracle's own gateway adds before its destinations see an event; ours adds `receivedAt`."""
DEVIATIONS: Mapping[str, str] = {
    "identify_phone": "traits are in `traits`, as they were sent; the oracle copies them to context.traits",
    "identify_app": "traits are in `traits`, as they were sent; the oracle copies them to context.traits",
    "Test 0": "an event without userId has none; the oracle writes an empty one",
}

Shown = list[dict[str, Any]]


def cases() -> Iterator[Any]:
    for name in FOLDERS:
        for case in load(name):
            yield pytest.param(name, case, id=case["id"])


def batch_of(case: Mapping[str, Any]) -> Batch:
    event = case["event"]
    message_id = str(event.get("messageId", event.get("message_id")))
    return Batch([1], [message_id], [msgspec.json.encode(event)])


def kafka(case: Mapping[str, Any]) -> Shown:
    """What goes out: message, key (which the oracle calls `userId`), and topic where the case has one."""
    config = case["config"]
    given: dict[str, Any] = {"brokers": "127.0.0.1", "topic": config.get("topic") or "default", "key": "user"}
    if config.get("enableMultiTopic"):
        rows = [*config["eventTypeToTopicMap"], *config["eventToTopicMap"]]
        given["topics"] = {row["from"]: row["to"] for row in rows}
    settings = settings_for("kafka", given | {"topic_from_event": True}, KafkaSettings)
    assert isinstance(settings, KafkaSettings)
    records, rejected = Records(settings).of(batch_of(case))
    assert rejected == {}
    shown = []
    for record in records:
        one = {"message": msgspec.json.decode(record.value), "userId": (record.key or b"").decode()}
        shown.append(one if record.topic == "default" else one | {"topic": record.topic})
    return shown


def objectstore(case: Mapping[str, Any]) -> Shown:
    """The lines of the object."""
    settings = settings_for("objectstore", {"url": "s3://bucket"}, ObjectStoreSettings)
    assert isinstance(settings, ObjectStoreSettings)
    content = files_for(settings).content(batch_of(case), {})
    assert content is not None
    return [msgspec.json.decode(line) for line in gzip.decompress(content).splitlines()]


OURS: Mapping[str, Callable[[Mapping[str, Any]], Shown]] = {"kafka": kafka, "objectstore": objectstore}


def wanted(name: str, case: Mapping[str, Any]) -> Shown:
    records: Shown = msgspec.json.decode(msgspec.json.encode(case["expected"]["records"]))
    for record in records:
        event = record["message"] if name == "kafka" else record
        for member in BY_THE_ORACLES_GATEWAY:
            event.pop(member, None)
    return records


def load(name: str) -> list[dict[str, Any]]:
    return [case for path in sorted((CASES / FOLDERS[name]).glob("*.json")) for case in json.loads(path.read_text())]


def n_equal(name: str) -> int:
    """How many cases of a type come out equal."""
    return sum(is_equal(name, case) for case in load(name))


def is_equal(name: str, case: Mapping[str, Any]) -> bool:
    return OURS[name](case) == wanted(name, case)


@pytest.mark.skipif(not CASES.is_dir(), reason="the conformance cases (../shared/conformance) are not here")
@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_records_are_the_events_themselves(name: str, case: dict[str, Any]) -> None:
    assert is_equal(name, case) != (case["name"] in DEVIATIONS)


@pytest.mark.skipif(not CASES.is_dir(), reason="the conformance cases (../shared/conformance) are not here")
@pytest.mark.parametrize("name", FOLDERS)
def test_score_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    n_cases, equal = len(load(name)), n_equal(name)

    with capsys.disabled():
        print(f"\nconformance: {name}: {equal} of {n_cases} cases equal")
    assert n_cases - equal <= len(DEVIATIONS)

"""From events to records of Kafka: topic, key, headers; the value is the event as it was received. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from sluicegate.destinations.base import Batch
from sluicegate.destinations.kafka_settings import KafkaSettings, is_topic

Headers = list[tuple[str, str | bytes | None]]
"""Texts; the type is the library's."""
_TYPE = "{type}"
_TRACK = "track"


@dataclass(frozen=True, slots=True)
class Record:
    """What becomes of the event at `index`; `chosen`: the event itself named the topic, and not the configuration."""

    index: int
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    chosen: bool = False


class _Head(msgspec.Struct):
    """The members that decide topic and key."""

    type: str = ""
    event: str | None = None
    userId: str | None = None
    anonymousId: str | None = None
    integrations: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Head).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


class Records:
    """Makes records as the settings say."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.topic
        self._topics = settings.topics
        self._from_event = settings.topic_from_event
        self._headers: Headers = list(settings.headers.items())
        self._key_of = _KEYS[settings.key]

    def of(self, batch: Batch) -> tuple[list[Record], dict[int, str]]:
        """The records in the events' order, and by index why an event has none."""
        records: list[Record] = []
        rejected: dict[int, str] = {}
        for index, (raw, message_id) in enumerate(zip(batch.raws, batch.message_ids, strict=True)):
            try:
                head = _head(raw)
                topic, chosen = self._topic_of(head)
            except (ValueError, RecursionError) as error:
                rejected[index] = str(error)
                continue
            key = self._key_of(head)
            headers: Headers = [("message-id", message_id), ("type", head.type), *self._headers]
            records.append(Record(index, topic, key.encode() if key else None, raw, headers, chosen))
        return records, rejected

    def fixed_topics(self) -> set[str]:
        """The topics that are needed whatever events come."""
        return {*self._topics.values(), *([] if _TYPE in self._topic else [self._topic])}

    def _topic_of(self, head: _Head) -> tuple[str, bool]:
        """The topic of an event, and whether the event chose it; raises `ValueError` when it is none."""
        wanted = _wanted_topic(head.integrations) if self._from_event else None
        if wanted is not None:
            if not is_topic(wanted):
                raise ValueError(f"integrations.Kafka.topic: {wanted[:80]!r} cannot be a topic")
            return wanted, True
        if self._topics:
            named = self._topics.get(head.event or "") if head.type == _TRACK else None
            named = named or self._topics.get(head.type)
            if named is not None:
                return named, False
        return self._topic.replace(_TYPE, head.type), False


def _head(raw: bytes) -> _Head:
    try:
        return _decode(raw)
    except msgspec.ValidationError:  # an id that is a number, or a name that is a list
        event = _decode_any(raw)
    fields = {name: _text(event.get(name)) for name in ("event", "userId", "anonymousId")}
    integrations = msgspec.Raw(msgspec.json.encode(event.get("integrations")))
    return _Head(type=_text(event.get("type")) or "", integrations=integrations, **fields)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def _wanted_topic(integrations: msgspec.Raw) -> str | None:
    """The topic in `integrations.Kafka.topic`, None when there is none."""
    if b"topic" not in bytes(integrations):
        return None
    found = msgspec.json.decode(integrations)
    options = found.get("Kafka", found.get("KAFKA")) if isinstance(found, dict) else None
    topic = options.get("topic") if isinstance(options, dict) else None
    return topic if isinstance(topic, str) else None


_KEYS: dict[str, Callable[[_Head], str | None]] = {
    "subject": lambda head: head.anonymousId or head.userId,
    "user": lambda head: head.userId or head.anonymousId,
    "none": lambda head: None,
}

"""Kafka's protocol without Kafka: the mock cluster inside librdkafka, which listens on loopback for any process.

The Python binding does not offer it, so its C functions (rdkafka_mock.h) are called directly.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import files
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

PRODUCE, METADATA, INIT_PRODUCER_ID = 0, 3, 22
"""Keys of requests (kafka.apache.org/protocol)."""
_PRODUCER = 0
_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _POINTER, ctypes.c_size_t)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _POINTER, ctypes.c_size_t)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_topic_create": (_INT, (_POINTER, _TEXT, _INT, _INT)),
    "rd_kafka_mock_topic_set_error": (None, (_POINTER, _TEXT, _INT)),
    "rd_kafka_mock_push_request_errors_array": (None, (_POINTER, ctypes.c_int16, ctypes.c_size_t, _POINTER)),
    "rd_kafka_mock_clear_request_errors": (None, (_POINTER, ctypes.c_int16)),
    "rd_kafka_mock_broker_set_down": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_up": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_rtt": (_INT, (_POINTER, ctypes.c_int32, _INT)),
    "rd_kafka_mock_broker_set_host_port": (_INT, (_POINTER, ctypes.c_int32, _TEXT, ctypes.c_int32)),
}


@cache
def _library() -> ctypes.CDLL:
    (path,) = (
        found.locate()
        for found in files("confluent_kafka") or ()
        if found.name.startswith("librdkafka") and "confluent_kafka.libs" in str(found)
    )
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as a consumer gets it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        return self.headers["message-id"].decode()


class KafkaCluster:
    """One broker, unless said otherwise, and a look into its topics."""

    def __init__(self, n_brokers: int = 1) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, len(error))
        self._handle = self._library.rd_kafka_new(_PRODUCER, configuration, error, len(error))
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, n_brokers)
        self.n_brokers = n_brokers
        self.brokers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._topics: dict[str, int] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first broker."""
        host, _, port = self.brokers.split(",")[0].partition(":")
        return host, int(port)

    def create(self, topic: str, *, n_partitions: int = 4) -> None:
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), n_partitions, 1)
        self._topics[topic] = n_partitions

    def fail(self, request: int, *codes: int) -> None:
        """Answer the next requests of this kind with these errors."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(codes), array)

    def stop(self) -> None:
        """Listen no more, and end all connections."""
        for number in range(1, self.n_brokers + 1):
            self._library.rd_kafka_mock_broker_set_down(self._cluster, number)

    def start(self) -> None:
        for number in range(1, self.n_brokers + 1):
            self._library.rd_kafka_mock_broker_set_up(self._cluster, number)

    def delay(self, rtt_ms: int) -> None:
        """Take so long over each answer."""
        for number in range(1, self.n_brokers + 1):
            self._library.rd_kafka_mock_broker_set_rtt(self._cluster, number, rtt_ms)

    def advertise(self, host: str, port: int) -> None:
        """Tell clients that the first broker is there."""
        assert not self._library.rd_kafka_mock_broker_set_host_port(self._cluster, 1, host.encode(), port)

    def records(self, topic: str = "events") -> list[Stored]:
        """All records of a topic, of each partition in order."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "tests", "log_level": 0})
        try:
            places = [TopicPartition(topic, number, 0) for number in range(self._topics[topic])]
            n_wanted = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
            consumer.assign(places)
            found: list[Stored] = []
            deadline = time.monotonic() + 20
            while len(found) < n_wanted and time.monotonic() < deadline:
                found += map(_stored, consumer.consume(10_000, 0.1))
        finally:
            consumer.close()
        assert len(found) == n_wanted
        return sorted(found, key=lambda one: one.partition)

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


def running_kafka() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster()
    yield cluster
    cluster.close()


def _stored(message: confluent_kafka.Message[Any, Any]) -> Stored:
    assert message.error() is None
    headers = {str(name): value if isinstance(value, bytes) else b"" for name, value in list(message.headers() or ())}
    topic, partition = message.topic(), message.partition()
    assert topic is not None and partition is not None
    return Stored(topic, partition, message.key(), message.value() or b"", headers)

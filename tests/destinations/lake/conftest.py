from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.doubles.kafka_cluster import KafkaCluster


@pytest.fixture
def kafka() -> Iterator[KafkaCluster]:
    """A cluster of one broker with the topic `events`."""
    if find_spec("confluent_kafka") is None:
        pytest.skip("confluent-kafka is not installed; pip install sluicegate[peers]")
    from tests.doubles.kafka_cluster import KafkaCluster

    cluster = KafkaCluster()
    cluster.create("events")
    yield cluster
    cluster.close()

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.doubles.kafka_cluster import KafkaCluster
    from tests.doubles.s3_server import S3Server


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    if find_spec("obstore") is None or find_spec("moto") is None:
        pytest.skip("obstore or moto is not installed; pip install sluicegate[peers]")
    from tests.doubles.s3_server import S3Server

    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server) -> S3Server:
    """A server with an empty bucket `events`."""
    s3_server.reset()
    s3_server.make_bucket("events")
    return s3_server

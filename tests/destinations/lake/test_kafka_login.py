from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.errors import CredentialsRefused, NotReady
from sluicegate.testing.destination_contract import make_batch, make_destination

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; pip install sluicegate[peers]")
pytest.importorskip("cryptography", reason="cryptography is not installed; pip install sluicegate[peers]")
from sluicegate.destinations.kafka import Kafka
from tests.doubles.kafka_gate import Authority, Certificate, Gate

if TYPE_CHECKING:
    from tests.doubles.kafka_cluster import KafkaCluster

GateMaker = Callable[..., Gate]


@pytest.fixture
def gate(kafka: KafkaCluster) -> Iterator[GateMaker]:
    made: list[Gate] = []

    def make(**given: Any) -> Gate:
        made.append(Gate(kafka, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def context(own: Certificate, folder: Path, *, clients_of: Authority | None = None) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = folder / "broker.pem"
    path.write_text(own.certificate + own.key)
    found.load_cert_chain(path)
    if clients_of is not None:
        found.load_verify_locations(cadata=clients_of.pem)
        found.verify_mode = ssl.CERT_REQUIRED
    return found


def make(gate: Gate, tmp_path: Path, **settings: Any) -> Destination:
    defaults: dict[str, Any] = {"brokers": gate.brokers, "topic": "events", "timeout_s": 10}
    return make_destination(Kafka, tmp_path, **defaults | settings)


def delivers(destination: Destination, kafka: KafkaCluster) -> None:
    destination.initialize()
    destination.test()
    assert destination.deliver(make_batch(["m-1"])) is None
    destination.destroy()
    kafka.advertise(*kafka.address)
    assert [record.message_id for record in kafka.records()] == ["m-1"]


def test_records_travel_encrypted(kafka: KafkaCluster, gate: GateMaker, authority: Authority, tmp_path: Path) -> None:
    own = gate(tls=context(authority.certificate(), tmp_path))

    delivers(make(own, tmp_path, security="ssl", ca=authority.pem), kafka)


def test_brokers_may_want_a_certificate_of_ours(
    kafka: KafkaCluster, gate: GateMaker, authority: Authority, tmp_path: Path
) -> None:
    own = gate(tls=context(authority.certificate(), tmp_path, clients_of=authority))
    mine = authority.certificate()
    ca = tmp_path / "ca.pem"
    ca.write_text(authority.pem)
    login = {"security": "ssl", "ca": str(ca), "certificate": mine.certificate}

    delivers(make(own, tmp_path, **login, private_key=mine.key), kafka)


@pytest.mark.parametrize("host", ["127.0.0.2", ""])
def test_broker_that_is_not_who_it_should_be_gets_nothing(
    host: str, gate: GateMaker, authority: Authority, tmp_path: Path
) -> None:
    signer = authority if host else Authority()
    own = gate(tls=context(signer.certificate(host or "127.0.0.1"), tmp_path))
    destination = make(own, tmp_path, security="ssl", ca=authority.pem, timeout_s=1)

    with pytest.raises(NotReady, match=r"(?i)certificate|verif|handshake"):
        destination.initialize()

    destination.destroy()


def test_password_lets_us_in(kafka: KafkaCluster, gate: GateMaker, authority: Authority, tmp_path: Path) -> None:
    own = gate(tls=context(authority.certificate(), tmp_path), login=("user", "pass-word"))
    login = {"security": "sasl_ssl", "ca": authority.pem, "username": "user", "password": "pass-word"}

    delivers(make(own, tmp_path, **login), kafka)


def test_wrong_password_pauses_at_once(gate: GateMaker, tmp_path: Path) -> None:
    own = gate(login=("user", "pass-word"))
    destination = make(own, tmp_path, username="user", password="another-word")

    with pytest.raises(CredentialsRefused, match="wrong password") as raised:
        destination.initialize()

    assert "another-word" not in str(raised.value)
    destination.destroy()


def test_password_that_was_changed_meanwhile_pauses(kafka: KafkaCluster, gate: GateMaker, tmp_path: Path) -> None:
    first = gate(login=("user", "pass-word"))
    destination = make(first, tmp_path, username="user", password="pass-word")
    destination.initialize()
    assert destination.deliver(make_batch(["m-1"])) is None
    first.change_password("another-word")

    with pytest.raises(CredentialsRefused, match="wrong password"):
        destination.deliver(make_batch(["m-2"]))

    destination.destroy()

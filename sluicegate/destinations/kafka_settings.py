"""Settings of the destination type `kafka`; imports nothing of its library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Key = Literal["subject", "user", "none"]

MIN_MESSAGE_BYTES = 1_000
MAX_MESSAGE_BYTES = 100_000_000
DEFAULT_PORT = 9092
_BROKER = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""Kafka, org.apache.kafka.common.internals.Topic."""
_FIELD = re.compile(r"\{(\w*)\}")
_LOOPBACK = ("localhost", "::1")


class KafkaSettings(Settings, kw_only=True):
    """`brokers` to start with (`host:9092,host:9092`) and the `topic`, in which `{type}` is an event's type.

    `topics` has other topics for names of track events and for types. `key` decides the partition: `subject` is the
    anonymous id or else the user id, `user` the user id or else the anonymous id. Certificates are PEM or
    the path of it.
    """

    brokers: str
    topic: str
    topics: dict[str, str] = {}  # noqa: RUF012  (msgspec copies it)
    topic_from_event: bool = False
    key: Key = "subject"
    headers: dict[str, str] = {}  # noqa: RUF012
    compression: Compression = "zstd"
    max_message_bytes: int = 1_000_000
    security: Security | None = None
    username: str | None = None
    password: Secret | None = None
    mechanism: Mechanism = "PLAIN"
    ca: str | None = None
    certificate: str | None = None
    private_key: Secret | None = None
    private_key_password: Secret | None = None

    limits: ClassVar[Limits] = Limits(max_events=5_000, max_bytes=4 * 1024 * 1024)

    def __post_init__(self) -> None:
        brokers_of(self.brokers)
        _check_topic("topic", self.topic, fields=("type",))
        for topic in self.topics.values():
            _check_topic("topics", topic)
        if not MIN_MESSAGE_BYTES <= self.max_message_bytes <= MAX_MESSAGE_BYTES:
            raise ValueError("max_message_bytes: out of range; write 1000 to 100000000, leave it out for 1,000,000")
        self._check_login()

    def _check_login(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username: needs a password, and a password a username; write both or none")
        wants_login = (self.security or "").startswith("sasl")
        if wants_login and self.username is None:
            raise ValueError('security: needs username and password; write both, or "ssl"')
        if self.security in ("plaintext", "ssl") and self.username is not None:
            raise ValueError(f'security: sends no password; write "sasl_{self.security}", or no username and password')
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate: needs a private_key, and a private_key a certificate; write both or none")
        if not self.protocol.endswith("ssl") and (self.ca or self.certificate):
            raise ValueError(f'ca: is not used without TLS; write security = "{"sasl_" * bool(self.username)}ssl"')

    @property
    def protocol(self) -> Security:
        """How to talk to the brokers: as configured, else with TLS unless all of them are on this machine."""
        if self.security is not None:
            return self.security
        is_local = all(host.startswith("127.") or host in _LOOPBACK for host, _ in brokers_of(self.brokers))
        if self.username is None:
            return "plaintext" if is_local else "ssl"
        return "sasl_plaintext" if is_local else "sasl_ssl"


def brokers_of(text: str) -> list[tuple[str, int]]:
    """Hosts and ports of a list of brokers; raises `ValueError`."""
    found = []
    for one in text.split(","):
        match = _BROKER.fullmatch(one.strip())
        port = int(match[2] or DEFAULT_PORT) if match else 0
        if match is None or not 0 < port < 65536:
            raise ValueError(f"brokers: {one.strip()[:80]!r} is no broker; write host:9092, several with commas")
        found.append((match[1].strip("[]"), port))
    return found


def is_topic(name: str) -> bool:
    """Whether Kafka takes this as the name of a topic."""
    return bool(_TOPIC.fullmatch(name)) and name not in (".", "..")


def _check_topic(key: str, topic: str, *, fields: Sequence[str] = ()) -> None:
    wrong = [name for name in _FIELD.findall(topic) if name not in fields]
    if wrong or not is_topic(_FIELD.sub("x", topic)):
        allowed = f", and {{{fields[0]}}}" if fields else ""
        raise ValueError(f"{key}: {topic[:80]!r} is no topic; write letters, digits, . _ -{allowed}, at most 249")

"""What stands before the mock cluster and makes it a cluster with TLS and logins, which it cannot be by itself.

Byte layouts are those of kafka.apache.org/protocol: ApiVersions 0, SaslHandshake 1, SaslAuthenticate 0 and 1.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doubles.kafka_cluster import KafkaCluster
from tests.doubles.listener import Listener

_API_VERSIONS, _HANDSHAKE, _AUTHENTICATE = 18, 17, 36
_REFUSED = 58
_LOGIN_KEYS = struct.pack(">hhhhhh", _HANDSHAKE, 0, 1, _AUTHENTICATE, 0, 1)
_HEAD = struct.Struct(">iihi")
"""An answer to ApiVersions begins with size, correlation id, error and how many requests there are."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


class Gate:
    """Listens on loopback and passes on to the cluster who is let in; the cluster says that it is here."""

    def __init__(
        self, cluster: KafkaCluster, *, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self._behind = cluster.address
        self._open: set[socket.socket] = set()
        self._tls = tls
        self._login = login
        self._listener = Listener(self._serve)
        self.port = self._listener.port
        self.close = self._listener.close
        self.brokers = f"127.0.0.1:{self.port}"
        cluster.advertise("127.0.0.1", self.port)

    def change_password(self, password: str) -> None:
        """From now on only this one is right; who is in is thrown out."""
        assert self._login is not None
        self._login = self._login[0], password
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            with client, socket.create_connection(self._behind) as broker:
                if self._login is not None and not self._let_in(client, broker):
                    return
                self._open.add(client)
                back = threading.Thread(target=_pump, args=(broker, client), daemon=True)
                back.start()
                _pump(client, broker)
                back.join()

    def _let_in(self, client: socket.socket, broker: socket.socket) -> bool:
        """Answer until somebody has logged in; whether that went well."""
        while True:
            request = _frame(client)
            key, version, correlation = struct.unpack_from(">hhi", request, 4)
            if key == _API_VERSIONS:
                broker.sendall(request)
                client.sendall(_with_logins(_frame(broker)))
            elif key == _HANDSHAKE:
                _answer(client, correlation, struct.pack(">hi", 0, 1) + _text(b"PLAIN"))
            elif key == _AUTHENTICATE:
                is_right = request.endswith(b"\0%s\0%s" % tuple(map(str.encode, self._login or ())))
                lifetime = struct.pack(">q", 0) * (version >= 1)
                error, text = (0, struct.pack(">h", -1)) if is_right else (_REFUSED, _text(b"wrong password"))
                _answer(client, correlation, struct.pack(">h", error) + text + struct.pack(">i", 0) + lifetime)
                return is_right
            else:
                return False


def _frame(connection: socket.socket) -> bytes:
    size = _exactly(connection, 4)
    return size + _exactly(connection, struct.unpack(">i", size)[0])


def _exactly(connection: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        more = connection.recv(n_bytes - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _with_logins(answer: bytes) -> bytes:
    """An answer to ApiVersions that has the two requests of a login too."""
    size, correlation, error, count = _HEAD.unpack_from(answer)
    if error:  # it is asked again, for version 0
        return answer
    return _HEAD.pack(size + len(_LOGIN_KEYS), correlation, error, count + 2) + _LOGIN_KEYS + answer[_HEAD.size :]


def _answer(connection: socket.socket, correlation: int, body: bytes) -> None:
    connection.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Authority:
    """Makes certificates for this machine."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of tests")])
        self.pem = _pem(self._sign(self._name, self._key.public_key(), lambda one: one, is_authority=True))

    def certificate(self, host: str = "127.0.0.1") -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        signed = self._sign(name, key.public_key(), lambda one: one.add_extension(names, critical=False))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(_pem(signed), private.decode())

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extend: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        basic = x509.BasicConstraints(ca=is_authority, path_length=None)
        builder = (
            x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(basic, critical=True)
        )
        return extend(builder).sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()

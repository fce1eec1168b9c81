"""The signed envelope around every pickle, verified before anything is unpickled."""

from __future__ import annotations

import hmac
import pickle

from sluicegate.errors import SluicegateError

_TAG_BYTES = 32
_LENGTH_BYTES = 4
_ACK = b"ack"
_SIZE = b"a frame of %d bytes"


class NotSigned(SluicegateError):
    """Bytes that were not signed with our key."""


class Envelope:
    """Seals and opens messages with one key.

    A sealed message is its length (4 bytes) and tag (HMAC-SHA256 of the pickle), then the pickle; several of them
    make a batch, whose size is signed as well, so that nothing has to be kept for who has not the key. This keeps
    everybody else out. It does not hide contents, and does not stop a replay of what somebody read off the loopback
    interface, which needs root.
    """

    __slots__ = ("_key", "ack")

    refusal = b"REFUSED"
    """The answer to what is not accepted; unsigned, so that a peer with another key can tell why."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.ack = hmac.digest(key, _ACK, "sha256")
        """The answer to what is accepted: only who has the key can give it."""

    def seal(self, message: object) -> bytes:
        """The sealed message; raises what pickle raises."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        return len(data).to_bytes(_LENGTH_BYTES) + hmac.digest(self._key, data, "sha256") + data

    def verify(self, batch: bytes) -> list[bytes]:
        """The pickles of sealed messages; raises `NotSigned` unless every one was signed with our key."""
        pickles: list[bytes] = []
        start = 0
        while start < len(batch):
            begin = start + _LENGTH_BYTES + _TAG_BYTES
            end = begin + int.from_bytes(batch[start : start + _LENGTH_BYTES])
            tag, data = batch[start + _LENGTH_BYTES : begin], batch[begin:end]
            if end > len(batch) or not hmac.compare_digest(tag, hmac.digest(self._key, data, "sha256")):
                raise NotSigned("a message was not signed with this system's key")
            pickles.append(data)
            start = end
        return pickles

    def proof(self, size: int) -> bytes:
        """What goes before a batch of this size."""
        return hmac.digest(self._key, _SIZE % size, "sha256")

    def is_ack(self, answer: bytes) -> bool:
        """True for the signed answer of a peer that accepted our message."""
        return hmac.compare_digest(answer, self.ack)

"""The signed envelope around every pickle, verified before anything is unpickled."""

from __future__ import annotations

import hmac
import pickle

from sluicegate.errors import SluicegateError

_TAG_BYTES = 32
_ACK = b"ack"


class NotSigned(SluicegateError):
    """Bytes that were not signed with our key."""


class Envelope:
    """Seals and opens messages with one key: a frame is HMAC-SHA256 of the pickle, then the pickle.

    This keeps out everybody who has not the key. It does not hide contents, and does not stop a replay of what
    somebody read off the loopback interface, which needs root.
    """

    __slots__ = ("_key", "ack")

    refusal = b"REFUSED"
    """The answer to a frame that is not accepted; unsigned, so that a peer with another key can tell why."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.ack = hmac.digest(key, _ACK, "sha256")
        """The answer to a frame that is accepted: only who has the key can give it."""

    def seal(self, message: object) -> bytes:
        """Tag and pickle of a message."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        return hmac.digest(self._key, data, "sha256") + data

    def open(self, sealed: bytes) -> object:
        """The message; raises `NotSigned` before unpickling what was not signed with our key."""
        tag, data = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
        if not hmac.compare_digest(tag, hmac.digest(self._key, data, "sha256")):
            raise NotSigned("a message was not signed with this system's key")
        return pickle.loads(data)

    def is_ack(self, frame: bytes) -> bool:
        """True for the signed answer of a peer that accepted our message."""
        return hmac.compare_digest(frame, self.ack)

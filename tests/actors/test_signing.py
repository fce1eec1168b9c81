from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.actors.signing import Envelope, NotSigned

ENVELOPE = Envelope(b"k" * 32)


@given(st.lists(st.text()))
def test_batch_opens_to_what_was_sealed(messages: list[str]) -> None:
    batch = b"".join(ENVELOPE.seal(message) for message in messages)

    assert [pickle.loads(data) for data in ENVELOPE.verify(batch)] == messages


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    batch = bytearray(ENVELOPE.seal("one") + ENVELOPE.seal("two"))
    position = data.draw(st.integers(0, len(batch) - 1))
    batch[position] ^= data.draw(st.integers(1, 255))

    with pytest.raises(NotSigned):
        ENVELOPE.verify(bytes(batch))


@given(st.binary(min_size=1))
def test_arbitrary_bytes_are_not_signed(data: bytes) -> None:
    with pytest.raises(NotSigned):
        ENVELOPE.verify(data)


def test_answer_of_a_peer_with_another_key_is_no_acknowledgement() -> None:
    assert ENVELOPE.is_ack(ENVELOPE.ack)
    assert not ENVELOPE.is_ack(Envelope(b"x" * 32).ack)
    assert not ENVELOPE.is_ack(Envelope.refusal)

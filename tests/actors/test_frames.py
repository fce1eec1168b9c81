from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.actors.frames import MAX_FRAME_BYTES, PROOF_BYTES, BadFrame, FrameBuffer, NotProven, frame
from sluicegate.actors.signing import Envelope

PROOF = Envelope(b"k" * 32).proof


@given(st.binary(min_size=1), st.integers(1, 20))
def test_frame_in_pieces_of_any_size_is_the_data(data: bytes, piece: int) -> None:
    buffer = FrameBuffer()
    sent = frame(data)

    for start in range(0, len(sent), piece):
        assert not buffer.isDone()
        assert buffer.remainingAmount() > 0
        buffer.addMore(sent[start : start + piece])

    assert buffer.isDone()
    assert buffer.completed() == (data, b"")


@given(st.binary(min_size=1), st.integers(1, 20))
def test_proven_frame_in_pieces_of_any_size_is_the_data(data: bytes, piece: int) -> None:
    buffer = FrameBuffer(proof=PROOF)
    sent = frame(data, PROOF)

    for start in range(0, len(sent), piece):
        assert not buffer.isDone()
        assert buffer.remainingAmount() > 0
        buffer.addMore(sent[start : start + piece])

    assert buffer.isDone()
    assert buffer.completed() == (data, b"")


@given(st.binary(min_size=PROOF_BYTES), st.integers(1, MAX_FRAME_BYTES))
def test_frame_whose_length_nobody_has_signed_is_refused_at_once(data: bytes, size: int) -> None:
    with pytest.raises(NotProven):
        FrameBuffer(proof=PROOF).addMore(b"%d>" % size + data)


def test_proof_of_one_length_is_none_of_another() -> None:
    with pytest.raises(NotProven):
        FrameBuffer(proof=PROOF).addMore(b"8388608>" + PROOF(100))


def test_buffer_takes_no_frame_beyond_its_own_limit() -> None:
    with pytest.raises(BadFrame):
        FrameBuffer(max_bytes=64).addMore(b"65>")


def test_bytes_after_the_frame_are_dropped() -> None:
    buffer = FrameBuffer()

    buffer.addMore(b"3>abcdef")

    assert buffer.completed() == (b"abc", b"")


@pytest.mark.parametrize(
    "data",
    [b"-5>x", b">", b"0>", b"000>", b" 5>", b"5 >", b"1e3>", b"abc", b"1234567890123", b"8388609>", b"\xb2>"],
)
def test_bad_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameBuffer().addMore(data)


def test_frame_that_no_peer_accepts_is_not_sent() -> None:
    with pytest.raises(BadFrame):
        frame(b"")
    with pytest.raises(BadFrame):
        frame(bytes(MAX_FRAME_BYTES + 1))

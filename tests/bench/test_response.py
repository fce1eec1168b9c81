from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.bench.errors import BenchError
from sluicegate.bench.response import ResponseParser

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncontent-length:4\r\n\r\nwait"
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: x\r\n\r\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_responses_are_the_same_however_the_bytes_arrive(cuts: list[int]) -> None:
    parser = ResponseParser()
    ends = [0, *sorted(cuts), len(STREAM)]

    responses = [r for a, b in pairwise(ends) for r in parser.feed(STREAM[a:b])]

    assert responses == [(200, b"{}"), (503, b"wait"), (200, b"")]


def test_response_without_length_is_an_error() -> None:
    with pytest.raises(BenchError, match="no Content-Length"):
        list(ResponseParser().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))

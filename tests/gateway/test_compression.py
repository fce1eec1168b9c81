from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.gateway.compression import BadGzip, BodyTooLarge, gunzip
from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Client, RunningGateway, batch

PLAIN = json.dumps(batch("a", "b")).encode()
GZIP_HEADER = b"Content-Encoding: gzip\r\n"


@pytest.mark.parametrize("header", [GZIP_HEADER, b"", b"Content-Encoding: x-gzip\r\n", b"content-encoding: GZIP\r\n"])
def test_gzip_is_recognised_by_header_or_magic(gateway: RunningGateway, client: Client, header: bytes) -> None:
    answer = client.post("/v1/batch", gzip.compress(PLAIN), headers=BASIC + header)

    assert (answer.status, answer.json["accepted"]) == (200, 2)
    assert len(gateway.stored()) == 2


def test_identity_is_no_encoding(client: Client) -> None:
    assert client.post("/v1/batch", PLAIN, headers=BASIC + b"Content-Encoding: identity\r\n").status == 200


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b"gzip, identity", b"x"])
def test_other_encodings_are_415(client: Client, encoding: bytes) -> None:
    answer = client.post("/v1/batch", PLAIN, headers=BASIC + b"Content-Encoding: " + encoding + b"\r\n")

    assert (answer.status, answer.json["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        b"",
        gzip.compress(PLAIN)[:-1],
        gzip.compress(PLAIN)[:20],
        gzip.compress(PLAIN) + b"x",
        gzip.compress(PLAIN) + gzip.compress(PLAIN),
        gzip.compress(gzip.compress(PLAIN)),
        gzip.compress(PLAIN)[:-5] + b"wrong",
        zlib.compress(PLAIN),
    ],
    ids=["plain", "empty", "cut", "cut-early", "garbage", "two-members", "twice", "wrong-sum", "zlib"],
)
def test_what_is_not_one_gzip_member_is_400(client: Client, body: bytes) -> None:
    answer = client.post("/v1/batch", body, headers=BASIC + GZIP_HEADER)

    assert (answer.status, answer.json["code"]) == (400, "bad_gzip")
    assert client.get("/health").status == 200


def test_bomb_is_413_and_the_connection_goes_on(start_gateway: StartGateway) -> None:
    client = start_gateway({"max_body_bytes": 100_000}).client()

    answer = client.post("/v1/batch", gzip.compress(bytes(50_000_000)), headers=BASIC)

    assert (answer.status, answer.json["code"]) == (413, "body_too_large")
    assert client.get("/health").status == 200
    client.close()


def test_exactly_the_limit_is_decompressed() -> None:
    data = gzip.compress(bytes(1_000))

    assert len(gunzip(data, max_bytes=1_000)) == 1_000
    with pytest.raises(BodyTooLarge):
        gunzip(data, max_bytes=999)


def test_empty_member_is_an_empty_body() -> None:
    assert gunzip(gzip.compress(b""), max_bytes=10) == b""
    with pytest.raises(BadGzip):
        gunzip(b"", max_bytes=10)


def test_member_that_says_it_is_small_is_not_decompressed_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    lying = bomb[:-4] + (10).to_bytes(4, "little")

    with pytest.raises(BodyTooLarge):
        gunzip(lying, max_bytes=1_000)


def test_garbage_at_the_end_is_not_taken_for_a_size_that_cannot_be() -> None:
    with pytest.raises(BadGzip, match="more data after its end"):
        gunzip(gzip.compress(PLAIN) + b"\xff\xff\xff\xff", max_bytes=1_000)


@given(st.binary(max_size=5_000), st.integers(1, 5_000), st.integers(0, 9))
def test_what_is_within_the_limit_comes_back_and_nothing_else(plain: bytes, limit: int, level: int) -> None:
    data = gzip.compress(plain, level)

    if len(plain) > limit:
        with pytest.raises(BodyTooLarge):
            gunzip(data, max_bytes=limit)
    elif not plain.startswith(b"\x1f\x8b"):
        assert gunzip(data, max_bytes=limit) == plain

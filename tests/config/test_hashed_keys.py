from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.config.hashed import digest_of, hashed
from sluicegate.config.model import Config
from sluicegate.errors import Problem

Document = dict[str, Any]
Read = Callable[..., Config]
ProblemsOf = Callable[..., dict[str, Problem]]

HASH = hashed("some-write-key")


def test_hash_of_a_key_has_the_digest_of_the_key() -> None:
    assert digest_of(HASH) == digest_of("some-write-key") == hashlib.sha256(b"some-write-key").digest()


def test_hash_may_stand_where_a_key_stands(document: Document, read: Read) -> None:
    document["gateway"] |= {"write_keys": {"web": HASH}, "regulation_keys": {"privacy": hashed("another-key")}}

    gateway = read(document).gateway

    assert gateway.write_keys["web"].reveal() == HASH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sha256:0", "is no hash"),
        (HASH[:-1], "is no hash"),
        (HASH + "0", "is no hash"),
        (HASH.upper(), "is no hash"),
        (HASH.replace(":", "::"), "is no hash"),
        ("sha256:" + "g" * 64, "is no hash"),
        (f" {HASH}", "HTTP user names"),
        ("sha512:" + "0" * 64, "HTTP user names"),
        (hashed(""), "empty key"),
    ],
)
def test_what_is_no_hash_is_refused_with_what_to_write(
    document: Document, problems_of: ProblemsOf, text: str, reason: str
) -> None:
    document["gateway"]["write_keys"] = {"web": text}

    problem = problems_of(document)["gateway.write_keys.web"]

    assert reason in problem.reason
    assert problem.suggestion
    assert text not in str(problem)


@pytest.mark.parametrize("other", [HASH, "some-write-key"])
def test_key_stands_in_one_place_only_plain_or_hashed(document: Document, problems_of: ProblemsOf, other: str) -> None:
    document["gateway"] |= {"write_keys": {"web": HASH, "shop": other}}
    twice = problems_of(document)
    document["gateway"] |= {"write_keys": {"web": HASH}, "regulation_keys": {"privacy": other}}
    both = problems_of(document)

    assert "is the key of web too" in twice["gateway.write_keys.shop"].reason
    assert "is the key of the source web too" in both["gateway.regulation_keys.privacy"].reason

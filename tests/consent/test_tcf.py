from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.consent.tcf import CATEGORIES, BadTcString, TcString, Vendors, read_tc_string

VECTORS = Path(__file__).parents[3] / "shared" / "tcf_vectors.json"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PUBLISHER = "YAAAAAAAAAAA"
MEASURE = "CQuIxQAQuIxQAAfACBENBkFgAIOAAAAAAAYgGMwAwAFALzAYyAAAAAAA"
"""Purposes 1, 7, 8, 9; vendors 10, 755, 793; written by the reference implementation."""


def vectors() -> list[Any]:
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="the vectors are not beside this clone"))]
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads(VECTORS.read_text())]


def written(fields: list[tuple[int, int]], *, by_bytes: bool = False) -> str:
    """Numbers with so many bits each as a segment."""
    bits = "".join(f"{value:0{size}b}" for value, size in fields)
    unit = 8 if by_bytes else 24
    bits += "0" * (-len(bits) % unit)
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def purposes_field(*purposes: int) -> int:
    return sum(1 << (24 - purpose) for purpose in purposes)


def core(
    *,
    version: int = 2,
    created: int = 100,
    updated: int = 100,
    language: int = 4,
    policy: int = 5,
    service_specific: int = 1,
    purposes: tuple[int, ...] = (1, 7, 8, 9),
    vendors: tuple[tuple[int, int], ...] = ((0, 16), (0, 1)),
    restrictions: tuple[tuple[int, int], ...] = ((0, 12),),
) -> list[tuple[int, int]]:
    return [
        *[(version, 6), (created, 36), (updated, 36), (31, 12), (2, 12), (1, 6), (language, 6), (13, 6), (100, 12)],
        *[(policy, 6), (service_specific, 1), (0, 1), (0, 12), (purposes_field(*purposes), 24), (0, 24), (0, 1)],
        *[(0, 6), (0, 6), *vendors, (0, 16), (0, 1), *restrictions],
    ]


def disclosed(*vendors: int) -> str:
    return written([(1, 3), (10, 16), (0, 1), *((int(n in vendors), 1) for n in range(1, 11))])


def read(text: str) -> TcString | None:
    try:
        return read_tc_string(text)
    except BadTcString:
        return None


@pytest.mark.parametrize("vector", vectors())
def test_statement_45_vectors_of_the_reference_implementation_are_read(vector: dict[str, Any]) -> None:
    tc = read_tc_string(vector["s"])

    assert tc.purposes == set(vector["p"])
    assert [n for n in range(1, 70_000) if n in tc.vendors] == sorted(vector["v"])
    assert (tc.policy_version, tc.created_ms) == (vector["policy"], 1_795_392_000_000)


@pytest.mark.parametrize("vector", vectors())
def test_statement_45_every_vector_that_is_cut_off_is_rejected(vector: dict[str, Any]) -> None:
    whole = vector["s"]

    readable = [whole[:n] for n in range(len(whole)) if read(whole[:n])]

    # These lose zero bits of padding, or the whole of a segment that is optional, and say the same.
    assert all(set(whole.partition(".")[0].removeprefix(text)) <= {"A"} or text == whole[:-1] for text in readable)
    assert len(readable) <= 3
    assert {read(text) for text in readable} == {read(whole)}


def test_statement_45_what_a_vector_says_is_read() -> None:
    tc = read_tc_string(f"{MEASURE}.{PUBLISHER}")

    assert tc.purposes == {1, 7, 8, 9}
    assert [n for n in range(1, 1000) if n in tc.vendors] == [10, 755, 793]
    assert tc.decided == {"marketing": False, "experience": False, "measurement": True, "functionality": False}


def test_statement_45_a_string_that_is_cut_off_anywhere_is_rejected() -> None:
    text = f"{MEASURE}.{disclosed(3, 7)}"

    readable = [text[:n] for n in range(len(text)) if read(text[:n])]

    # Without its padding, and without the disclosure, without which no vendor is allowed.
    assert readable == [MEASURE[:-1], MEASURE, text[:-2]]
    assert not any(read_tc_string(MEASURE).allows(vendor) for vendor in (10, 755, 793))


def test_statement_45_a_category_needs_all_of_its_purposes() -> None:
    for category, needed in CATEGORIES.items():
        assert read_tc_string(written(core(purposes=(1, *needed)))).decided[category] is True
        for one in needed:
            rest = tuple(needed - {one})
            assert read_tc_string(written(core(purposes=(1, *rest)))).decided[category] is False


def test_statement_45_without_purpose_1_nothing_is_granted() -> None:
    assert set(read_tc_string(written(core(purposes=tuple(range(2, 12))))).decided.values()) == {False}


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 1},
        {"version": 3},
        {"policy": 3},
        {"policy": 2},
        {"service_specific": 0},
        {"updated": 99},
        {"language": 26},
        {"vendors": ((0, 16), (1, 1), (1, 12), (0, 1), (5, 16))},
        {"vendors": ((9, 16), (1, 1), (1, 12), (1, 1), (5, 16), (4, 16))},
        {"vendors": ((9, 16), (1, 1), (1, 12), (1, 1), (5, 16), (10, 16))},
        {"vendors": ((9, 16), (1, 1), (2, 12), (0, 1), (5, 16), (0, 1), (5, 16))},
        {"vendors": ((9, 16), (1, 1), (1, 12), (0, 1), (0, 16))},
        {"vendors": ((65_535, 16), (0, 1))},
        {"restrictions": ((4_095, 12),)},
    ],
)
def test_statement_45_wrong_fields_make_a_string_unreadable(wrong: dict[str, Any]) -> None:
    assert read(written(core())) is not None
    assert read(written(core(**wrong))) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "C",
        "CQuIxQA",
        "not base64!",
        f"{MEASURE}=",
        f"{MEASURE}.",
        f".{MEASURE}",
        f"{MEASURE}\n",
        f" {MEASURE}",
        f"{MEASURE}A",
        f"{MEASURE}AAAA",
        f"{MEASURE}..{PUBLISHER}",
        f"{MEASURE}.{PUBLISHER}.{PUBLISHER}",
        f"{MEASURE}.{MEASURE}",
        f"{MEASURE}.AAAA",
        f"{MEASURE[:-1]}B",
        f"{MEASURE}.{PUBLISHER}" + ".AAAA" * 9,
        "C" * 100_000,
        "\u0421" + MEASURE[1:],
        "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA",  # version 1
        "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN",  # GPP
    ],
)
def test_statement_45_what_is_no_tc_string_is_rejected(text: str) -> None:
    assert read(text) is None


def test_segments_may_end_with_a_byte_or_a_group_of_characters() -> None:
    fields = core(vendors=((7, 16), (0, 1), (1, 7)))

    assert read(written(fields)) == read(written(fields, by_bytes=True)) is not None


def test_statement_45_a_vendor_needs_its_bit_and_disclosure() -> None:
    vendors = ((10, 16), (1, 1), (1, 12), (1, 1), (3, 16), (5, 16))
    new, old = written(core(vendors=vendors)), written(core(vendors=vendors, policy=4))

    assert [n for n in range(12) if read_tc_string(old).allows(n)] == [3, 4, 5]
    assert [n for n in range(12) if read_tc_string(new).allows(n)] == []
    assert [n for n in range(12) if read_tc_string(f"{new}.{disclosed(4, 9)}").allows(n)] == [4]
    assert [n for n in range(12) if read_tc_string(f"{old}.{disclosed(4, 9)}").allows(n)] == [4]


@pytest.mark.parametrize("vendor", [0, -1, 65_536, 2**70, "3", None, 3.0])
def test_what_is_no_vendor_is_in_no_set(vendor: object) -> None:
    assert vendor not in Vendors(10, bits=(1 << 10) - 1)


def test_vendors_in_ranges_are_those_from_the_first_to_the_last() -> None:
    ranges = ((20, 16), (1, 1), (3, 12), (0, 1), (2, 16), (1, 1), (5, 16), (7, 16), (0, 1), (20, 16))

    read = read_tc_string(written(core(vendors=(*ranges, (0, 16), (0, 1)))))

    assert [vendor for vendor in range(-1, 30) if vendor in read.vendors] == [2, 5, 6, 7, 20]


def test_a_string_of_thousands_of_ranges_takes_little_more_memory_than_its_text() -> None:
    ranges = [field for vendor in range(1, 2_801) for field in ((0, 1), (2 * vendor, 16))]
    text = written(core(vendors=((60_000, 16), (1, 1), (2_800, 12), *ranges)))

    tracemalloc.start()
    read = read_tc_string.__wrapped__(text)
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (2 in read.vendors, 3 in read.vendors, 5_600 in read.vendors) == (True, False, True)
    assert n_bytes < 3 * len(text)


@given(st.text(max_size=200))
def test_statement_45_random_texts_are_rejected(text: str) -> None:
    assert read(text) is None


@given(st.text(ALPHABET + ".", max_size=120), st.sampled_from(["", "C", MEASURE[:20], MEASURE[:40]]))
def test_statement_45_random_base64_grants_nothing_by_chance(text: str, start: str) -> None:
    tc = read(start + text)

    assert tc is None or (start + text).startswith(MEASURE) or len(start) > 35


@given(st.integers(0, 55), st.sampled_from(ALPHABET))
def test_a_changed_character_is_read_as_what_it_says_or_not_at_all(at: int, other: str) -> None:
    read(MEASURE[:at] + other + MEASURE[at + 1 :])

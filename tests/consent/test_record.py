from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.consent.record import MAX_NUMBER, Record, decode_record, encode_record
from sluicegate.consent.slots import EMPTY, MAX_MS, Slots
from sluicegate.errors import LogDamaged

marks = st.one_of(st.just(0), st.integers(2, 2 * MAX_MS + 1))
slots = st.builds(
    Slots, marks, marks, marks, marks, st.integers(0, MAX_MS), st.sampled_from(["", "v1", "policy of 2026"])
).filter(lambda found: found != EMPTY)
keys = st.binary(min_size=16, max_size=16)
names = st.sampled_from(["measurement", "marketing", "", "n126", "n127", "n200", "n9000", "n32000"])


class SomeNames:
    """Numbers for a few names, small and large ones."""

    def number(self, name: str) -> int:
        return (
            int(name[1:]) if name[:1] == "n" else ["measurement", "marketing", "", "v1", "policy of 2026"].index(name)
        )

    def name(self, number: int) -> str:
        if number < 5:
            return ["measurement", "marketing", "", "v1", "policy of 2026"][number]
        if number > MAX_NUMBER:
            raise LogDamaged("never given")
        return f"n{number}"


@st.composite
def records(draw: st.DrawFn) -> Record:
    owner = draw(st.none() | keys)
    since_ms = draw(st.integers(0, MAX_MS)) if owner else 0
    return Record(owner, since_ms, draw(st.lists(keys, max_size=64)), draw(st.dictionaries(names, slots, max_size=6)))


@given(records())
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert decode_record(encode_record(record, SomeNames()), SomeNames()) == record


@given(st.binary(max_size=80))
def test_damaged_bytes_are_read_or_said_to_be_damage(data: bytes) -> None:
    with contextlib.suppress(LogDamaged):
        decode_record(data, SomeNames())


@given(records(), st.data())
def test_a_record_that_is_cut_off_is_damage_or_less(record: Record, data: st.DataObject) -> None:
    whole = encode_record(record, SomeNames())
    shorter = whole[: data.draw(st.integers(0, len(whole) - 1))]

    try:
        found = decode_record(shorter, SomeNames())
    except LogDamaged:
        return
    assert found.purposes.items() <= record.purposes.items()


def test_a_typical_subject_takes_a_few_dozen_bytes() -> None:
    record = Record(purposes={name: Slots(decided=3_590_906_402_001) for name in ("measurement", "marketing", "n5")})

    assert len(encode_record(record, SomeNames())) == 25


@pytest.mark.parametrize("data", [b"", b"\1", b"\2", b"\2\3", b"\0\1\1\0"])
def test_what_lacks_its_parts_is_damage(data: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode_record(data, SomeNames())

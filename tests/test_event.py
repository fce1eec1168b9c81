import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.errors import LogDamaged
from sluicegate.event import (
    Combo,
    EventBatch,
    bounds_of,
    decode_meta,
    encode_batch,
    names_of,
    plain_name,
    split_payload,
    stamp_of,
)

texts = st.text(max_size=8)
names = st.lists(texts, max_size=3).map(tuple)
combos = st.builds(
    Combo, texts, texts, st.dictionaries(texts, st.booleans(), max_size=3).map(stamp_of), names, names, st.booleans()
)
rows = st.tuples(
    combos, texts, st.none() | texts, st.none() | texts, st.integers(0, 2**53), st.binary(min_size=1, max_size=20)
)


def batch_of(events: list[tuple[Combo, str, str | None, str | None, int, bytes]]) -> EventBatch:
    batch = EventBatch()
    for combo, message_id, user_id, anonymous_id, time_ms, data in events:
        batch.extend(EventBatch([combo], [message_id], [user_id], [anonymous_id], [time_ms], [data], len(data)))
    return batch


@given(st.lists(rows, max_size=20))
def test_batch_comes_back_as_it_was_stored(events: list[tuple[Combo, str, str | None, str | None, int, bytes]]) -> None:
    batch = batch_of(events)

    meta, data = encode_batch(batch)

    found = decode_meta(meta)
    assert [found.combos[index] for index in found.combo_of] == batch.combos
    assert found.message_ids == batch.message_ids
    assert found.user_ids == batch.user_ids
    assert found.anonymous_ids == batch.anonymous_ids
    assert found.times_ms == batch.times_ms
    assert split_payload(data, found.bounds) == batch.events
    assert len(batch) == len(events)


def test_equal_combinations_are_stored_once() -> None:
    batch = batch_of([(Combo("track", "web"), str(number), None, "a", 0, b"{}") for number in range(300)])

    assert len(decode_meta(encode_batch(batch)[0]).combos) == 1


@given(st.binary())
def test_damaged_meta_is_named_as_such(data: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode_meta(data)


def test_meta_of_a_newer_format_says_upgrade() -> None:
    with pytest.raises(LogDamaged, match="upgrade"):
        decode_meta(msgpack.packb([99]))


def test_damaged_events_are_named_as_such() -> None:
    with pytest.raises(LogDamaged):
        split_payload(b"{}", bounds_of([b"{}", b"{}"]))


def test_subject_is_the_anonymous_id_then_the_user_id_then_the_event() -> None:
    meta = decode_meta(
        encode_batch(
            batch_of(
                [
                    (Combo("track", "web"), "m1", "u", "a", 0, b"{}"),
                    (Combo("track", "web"), "m2", "u", None, 0, b"{}"),
                    (Combo("track", "web"), "m3", None, None, 0, b"{}"),
                ]
            )
        )[0]
    )

    assert meta.subjects == ["a", "u", "m3"]


def test_plain_names_ignore_case_spaces_and_punctuation() -> None:
    assert plain_name("Google Analytics 4") == plain_name("google_analytics-4") == "googleanalytics4"
    assert names_of(["Webhook", "webhook", "CRM"]) == ("crm", "webhook")

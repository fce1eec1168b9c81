from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.eventlog.idwindow import IdWindow
from sluicegate.eventlog.splitset import Hashes

WINDOW_MS = 96_000
BLOCK_MS = 1_000
STEPS = st.lists(
    st.tuples(st.lists(st.integers(0, 12), max_size=6), st.integers(0, WINDOW_MS), st.booleans()), max_size=40
)


def offered(window: IdWindow, hashes: list[int], at_ms: int, *, stored: bool) -> list[bool]:
    """Claim, then keep or release; what was new."""
    mask = [True] * len(hashes) if window.claim(Hashes(hashes), at_ms) else window.claim_new(hashes, at_ms)
    new = Hashes(one for one, is_new in zip(hashes, mask, strict=True) if is_new)
    if not stored:
        window.release(new)
    elif new:
        window.keep(new, at_ms, last=1)
    return mask


@given(STEPS)
def test_window_agrees_with_a_set_of_times(steps: list[tuple[list[int], int, bool]]) -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=100_000)
    stored_at: dict[int, int] = {}
    now_ms = 0

    for hashes, wait_ms, is_stored in steps:
        now_ms += wait_ms
        within: set[int] = set()
        for one, is_new in zip(hashes, offered(window, hashes, now_ms, stored=is_stored), strict=True):
            age_ms = now_ms - stored_at.get(one, -10 * WINDOW_MS)
            if one in within or age_ms <= WINDOW_MS:
                assert not is_new
            elif age_ms > WINDOW_MS + BLOCK_MS:
                assert is_new
            if is_new:
                within.add(one)
        if is_stored:
            stored_at |= dict.fromkeys(within, now_ms)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20, unique=True), max_size=60))
def test_number_of_ids_is_bounded_and_the_oldest_go_first(batches: list[list[int]]) -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=64)
    order: list[int] = []
    for batch in batches:
        mask = offered(window, batch, 1, stored=True)
        order += [one for one, is_new in zip(batch, mask, strict=True) if is_new]

        assert len(window) == len(window._seen) <= 64 + 20

    newest = order[-(64 - 4 - 20) :]
    assert window.claim_new(newest, 1) == [False] * len(newest)


def test_clock_that_jumps_an_hour_and_back_keeps_the_window() -> None:
    hour = 3_600_000
    window = IdWindow(window_ms=24 * hour, max_ids=1_000)
    start = 100 * hour
    for number, at_ms in enumerate([start, start + hour, start - hour, start + 5_000, start - 5_000, start]):
        assert window.claim(Hashes([number]), at_ms)
        window.keep(Hashes([number]), at_ms, last=number)

    now = [window.claim(Hashes([number]), start) for number in range(6)]
    later = [window.claim(Hashes([number]), start + 25 * hour + 16 * 60_000) for number in range(6)]

    assert now == [False] * 6
    assert later == [True] * 6


def test_clock_that_was_years_ahead_does_not_keep_ids_for_years() -> None:
    day = 86_400_000
    window = IdWindow(window_ms=day, max_ids=1_000)
    window.claim(Hashes([1]), 5_000 * day)
    window.keep(Hashes([1]), 5_000 * day, last=1)

    early = window.claim(Hashes([1]), 10 * day)
    late = window.claim(Hashes([1]), 11 * day + 1)

    assert (early, late) == (False, True)


def test_window_says_how_far_back_it_knows() -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=16)
    before = window.covers_ms()
    for number in range(40):
        window.claim(Hashes([number]), number * 100)
        window.keep(Hashes([number]), number * 100, last=number)

    assert before == WINDOW_MS
    assert window.covers_ms() == 16 * 100


def test_ids_that_are_forgotten_before_they_were_saved_take_no_memory() -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=64)
    for number in range(1_000):
        offered(window, [number], number, stored=True)

    assert sum(block.n_hashes for block in window.unsaved()) <= 64


def test_ids_that_come_while_others_are_saved_are_saved_next() -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=4)
    offered(window, [1, 2, 3, 4], 1, stored=True)
    saving = window.unsaved()
    offered(window, [5, 6, 7, 8], 2, stored=True)

    window.saved(saving)

    assert [sorted(chain(*block.parts)) for block in window.unsaved()] == [[5, 6, 7, 8]]


def test_ids_of_a_long_silence_do_not_hold_up_the_next_append_but_are_forgotten() -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=1_000)
    for number in range(100):
        window.claim(Hashes([number]), number * 2 * BLOCK_MS)
        window.keep(Hashes([number]), number * 2 * BLOCK_MS, last=number)
    n_before = len(window)

    window.claim(Hashes([1_000]), 10 * WINDOW_MS)
    n_after = len(window)

    assert n_before - n_after == 2
    assert window.claim_new([99], 10 * WINDOW_MS) == [True]


def test_id_that_stands_in_several_blocks_is_known_until_the_last_of_them_goes() -> None:
    window = IdWindow(window_ms=WINDOW_MS, max_ids=1_000)
    for number in range(3):
        window.add(Hashes([1, 10 + number]), 2 * BLOCK_MS * number, last=number)

    known = [window.claim_new([1], WINDOW_MS + 2 * BLOCK_MS * number + 1) == [False] for number in range(3)]

    assert known == [True, True, False]

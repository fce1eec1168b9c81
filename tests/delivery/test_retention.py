from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.retention import trim_before


@given(
    arrived=st.lists(st.integers(0, 50), max_size=30).map(sorted),
    tail=st.integers(1, 10),
    cursors=st.lists(st.integers(0, 40), max_size=4),
    now_ms=st.integers(0, 100),
)
def test_only_old_events_that_all_have_passed_are_let_go(
    arrived: list[int], tail: int, cursors: list[int], now_ms: int
) -> None:
    head = tail + len(arrived) - 1
    cursors = [min(cursor, head) for cursor in cursors]

    def received_at_ms(after: int) -> int | None:
        index = max(after + 1, tail) - tail
        return arrived[index] if index < len(arrived) else None

    before = trim_before(cursors, tail=tail, head=head, received_at_ms=received_at_ms, now_ms=now_ms, keep_ms=20)

    kept = [arrived[o - tail] < now_ms - 20 and all(o <= c for c in cursors) for o in range(before, head + 1)]
    gone = [arrived[o - tail] < now_ms - 20 and all(o <= c for c in cursors) for o in range(tail, before)]
    assert all(gone)
    assert not kept or not kept[0]

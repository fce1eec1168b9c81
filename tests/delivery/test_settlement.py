from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.settlement import FIRST_REASON, UNFINISHED, Dead, Progress, Settlement


def dead(offset: int) -> Dead:
    return Dead(offset, f"m{offset}", b"{}", "no", 1, 0.0, 0.0)


def test_cursor_stops_before_the_first_unfinished_offset() -> None:
    settlement = Settlement(10)
    settlement.extend(bytes(5))

    settlement.deliver([11, 12, 14])

    assert settlement.advance() == Progress(12, delivered=2)
    assert settlement.advance() == Progress(12)


def test_denials_between_events_are_counted_by_reason_when_the_cursor_passes_them() -> None:
    settlement = Settlement(0)
    refused, undecided = settlement.code("refused"), settlement.code("undecided")
    settlement.extend(bytes([refused, UNFINISHED, undecided, refused]))

    first = settlement.advance()
    settlement.deliver([2])
    rest = settlement.advance()

    assert first == Progress(1, denied={"refused": 1})
    assert rest == Progress(4, delivered=1, denied={"refused": 1, "undecided": 1})


def test_gap_in_the_log_is_counted_as_expired() -> None:
    settlement = Settlement(3)

    settlement.expire(1_000)

    assert settlement.advance() == Progress(1_003, expired=1_000)


def test_dead_event_is_reported_once_and_not_before_the_cursor_passes_it() -> None:
    settlement = Settlement(0)
    settlement.extend(bytes(2))
    settlement.bury(dead(2))

    early = settlement.advance()
    settlement.deliver([1])

    assert early.dead == []
    assert settlement.advance() == Progress(2, delivered=1, dead=[dead(2)])
    assert settlement.advance().dead == []


def test_more_reasons_than_there_are_codes_share_the_last() -> None:
    settlement = Settlement(0)
    codes = [settlement.code(f"reason {n}") for n in range(300)]
    settlement.extend(bytes(codes))

    progress = settlement.advance()

    assert min(codes) == FIRST_REASON
    assert max(codes) == 255
    assert progress.denied["other"] == 300 - 248
    assert len(progress) == 300


def test_reason_that_is_called_as_what_the_last_ones_share_is_counted_with_them() -> None:
    settlement = Settlement(0)
    settlement.extend(bytes([settlement.code("other"), *(settlement.code(f"reason {n}") for n in range(300))]))

    progress = settlement.advance()

    assert progress.denied["other"] == 1 + 300 - 247
    assert len(progress) == 301


def test_progress_adds_up() -> None:
    total = Progress(2, delivered=1, denied={"a": 1})

    total.add(Progress(5, delivered=1, denied={"a": 1, "b": 1}, dead=[], expired=0))

    assert total == Progress(5, delivered=2, denied={"a": 2, "b": 1})


@given(st.lists(st.sampled_from(["deliver", "dead", "deny", "expire"]), max_size=60), st.randoms(use_true_random=False))
def test_counts_equal_the_way_of_the_cursor_in_any_order_of_endings(fates: list[str], random: object) -> None:
    settlement = Settlement(7)
    order = []
    for index, fate in enumerate(fates):
        if fate == "expire":
            settlement.expire(1)
        elif fate == "deny":
            settlement.extend(bytes([settlement.code("no")]))
        else:
            settlement.extend(bytes([UNFINISHED]))
            order.append(8 + index)
    random.shuffle(order)  # type: ignore[attr-defined]
    total = settlement.advance()

    for offset in order:
        before = settlement.cursor
        if fates[offset - 8] == "dead":
            settlement.bury(dead(offset))
        else:
            settlement.deliver([offset])
        progress = settlement.advance()
        assert len(progress) == progress.cursor - before
        total.add(progress)

    assert total.cursor == 7 + len(fates)
    assert total.delivered == fates.count("deliver")
    assert len(total.dead) == fates.count("dead")
    assert total.denied.get("no", 0) == fates.count("deny")
    assert total.expired == fates.count("expire")

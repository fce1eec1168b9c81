from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.backlog import Backlog, slots_of
from sluicegate.eventlog.runs import Events


def events(first: int, subjects: list[str], *, size: int = 1) -> Events:
    offsets = range(first, first + len(subjects))
    return Events.of(offsets, [f"m{o}" for o in offsets], subjects, [b"x" * size for _ in offsets])


def test_head_is_taken_oldest_first_and_at_most_one_call_full() -> None:
    backlog = Backlog(max_events=3, max_bytes=1_000)
    backlog.extend(events(1, ["a"] * 5))

    assert backlog.take_head().offsets == [1, 2, 3]
    assert backlog.take_head().offsets == [4, 5]
    assert len(backlog) == 0


def test_bytes_bound_a_call_but_a_single_event_always_goes() -> None:
    backlog = Backlog(max_events=10, max_bytes=25)
    backlog.extend(events(1, ["a"] * 3, size=10))
    backlog.extend(events(4, ["a"], size=100))

    assert [backlog.take_head().offsets for _ in range(3)] == [[1, 2], [3], [4]]
    assert backlog.n_bytes == 0


def test_groups_never_share_a_subject() -> None:
    backlog = Backlog(max_events=100, max_bytes=10_000)
    backlog.extend(events(1, [f"subject {n % 20}" for n in range(100)]))

    groups = backlog.take_groups(4, frozenset())

    subjects = [set(group.subjects) for group, _ in groups]
    assert all(set(slots_of(group.subjects)) == slots for group, slots in groups)
    assert sum(map(len, subjects)) == len(set().union(*subjects)) == 20


def test_busy_slots_stay() -> None:
    backlog = Backlog(max_events=100, max_bytes=10_000)
    backlog.extend(events(1, ["a", "b", "a", "b"]))
    (busy_slot,) = set(slots_of(["a"]))

    assert backlog.count_free({busy_slot}) in (0, 2)  # 0 when both have the same slot
    assert all("a" not in group.subjects for group, _ in backlog.take_groups(2, {busy_slot}))
    assert backlog.take_head().subjects[0] == "a"


@given(st.lists(st.tuples(st.sampled_from(["add", "head", "groups"]), st.integers(1, 12)), max_size=40))
def test_nothing_is_lost_doubled_or_overtaken_within_a_subject(steps: list[tuple[str, int]]) -> None:
    backlog = Backlog(max_events=5, max_bytes=30)
    added: dict[str, list[int]] = {}
    taken: dict[str, list[int]] = {}
    last = 0
    for what, n in [*steps, *[("head", 1)] * 600]:
        if what == "add":
            batch = events(last + 1, [f"s{(last + i) * 7 % 9}" for i in range(n)], size=n)
            last += n
            backlog.extend(batch)
            batches, into = [batch], added
        else:
            groups = [group for group, _ in backlog.take_groups(n, {1, 2, 3})] if what == "groups" else []
            batches, into = groups or [backlog.take_head()], taken
        for batch in batches:
            for subject, offset in zip(batch.subjects, batch.offsets, strict=True):
                into.setdefault(subject, []).append(offset)

    assert taken == added
    assert (len(backlog), backlog.n_bytes) == (0, 0)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 20))
def test_merged_events_stand_where_their_offsets_belong(is_late: list[bool], n_taken: int) -> None:
    late = [offset for offset, chosen in enumerate(is_late) if chosen]
    whole = events(0, [f"s{offset % 5}" for offset in range(len(is_late))])
    backlog = Backlog(max_events=7, max_bytes=1_000)
    backlog.extend(whole.select(bytes([not chosen for chosen in is_late])))
    backlog.count_free({1})
    taken = backlog.take_head(n_taken).offsets if n_taken else []

    backlog.merge(whole.select(bytes(is_late)))

    groups = [group.offsets for group, _ in backlog.take_groups(2, {0, 1, 2})]
    rest = []
    while len(backlog):
        rest += backlog.take_head().offsets
    assert rest == sorted(rest)
    assert all(group == sorted(group) for group in groups)
    assert sorted([*taken, *rest, *(offset for group in groups for offset in group)]) == list(range(len(is_late)))
    assert (late == [] or len(backlog) == 0) and backlog.n_bytes == 0

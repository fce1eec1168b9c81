from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from sluicegate.errors import LogDamaged, LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.eventlog import writer as writer_module
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.eventlog.bell import Bell, BellWatch, rung
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from sluicegate.eventlog.writer import Commit, GroupCommit
from sluicegate.testing.batches import add_event, batch_of

PATIENCE_S = 30.0


class GatedLog(MemoryLog):
    """Appends when it is let, and raises what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: SimpleQueue[int] = SimpleQueue()
        self.gate = threading.Semaphore(0)
        self.errors: list[BaseException] = []
        self.closed = False

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        self.entered.put(len(batches))
        assert self.gate.acquire(timeout=PATIENCE_S)
        if self.errors:
            raise self.errors.pop(0)
        return super().append(batches, received_at_ms=received_at_ms)

    def close(self) -> None:
        self.closed = True


class Outcomes:
    """What a writer has reported."""

    def __init__(self) -> None:
        self.committed: SimpleQueue[list[tuple[str, Offset]]] = SimpleQueue()
        self.failed: SimpleQueue[tuple[list[str], LogError]] = SimpleQueue()
        self.fatal: SimpleQueue[LogError] = SimpleQueue()
        self.left_out: list[int] = []

    def _note(self, done: list[tuple[str, Offset]], n_left_out: int) -> None:
        self.left_out.append(n_left_out)
        self.committed.put(done)

    def writer(self, open_log: Callable[[], EventLog], **options: int) -> GroupCommit[str]:
        return GroupCommit(
            open_log,
            on_committed=self._note,
            on_failed=lambda tokens, error: self.failed.put((tokens, error)),
            on_fatal=self.fatal.put,
            clock=lambda: 1.5,
            max_waiting_events=options.get("max_waiting_events", 100),
            max_waiting_bytes=options.get("max_waiting_bytes", 1_000_000),
        )


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def log() -> Iterator[GatedLog]:
    log = GatedLog()
    yield log
    log.gate.release(1_000)


def test_commit_reports_first_offsets_by_token(outcomes: Outcomes) -> None:
    log = MemoryLog()
    writer = outcomes.writer(lambda: log)
    writer.start()

    assert writer.submit(batch_of([b"a", b"b"]), "one")

    assert outcomes.committed.get(timeout=PATIENCE_S) == [("one", 1)]
    assert log.received_at_ms(0) == 1_500
    assert writer.close(PATIENCE_S)


def test_what_arrives_during_a_commit_is_committed_together(outcomes: Outcomes, log: GatedLog) -> None:
    writer = outcomes.writer(lambda: log)
    writer.start()
    writer.submit(batch_of([b"a"]), "first")
    log.entered.get(timeout=PATIENCE_S)

    for name in ("second", "third"):
        writer.submit(batch_of([b"b", b"c"]), name)
    log.gate.release(2)

    assert outcomes.committed.get(timeout=PATIENCE_S) == [("first", 1)]
    assert outcomes.committed.get(timeout=PATIENCE_S) == [("second", 2), ("third", 4)]
    assert writer.close(PATIENCE_S)


def test_each_commit_tells_how_many_of_its_own_events_were_there_before(outcomes: Outcomes, tmp_path: Path) -> None:
    seen = SeenIds(window_s=60.0, max_ids=100)
    writer = outcomes.writer(lambda: SqliteLog(tmp_path / "log", seen=seen))
    writer.start()
    for message_ids in ("ab", "abc", "d", "abcd"):
        assert writer.submit(named(message_ids), message_ids)
        outcomes.committed.get(timeout=PATIENCE_S)

    assert writer.close(PATIENCE_S)
    assert outcomes.left_out == [0, 2, 0, 4]


def test_commit_is_bounded_and_keeps_the_order(
    outcomes: Outcomes, log: GatedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_COMMIT_EVENTS", 3)
    writer = outcomes.writer(lambda: log)
    writer.start()
    for index in range(6):
        writer.submit(batch_of([b"a", b"b"]), str(index))

    log.gate.release(6)

    assert [outcomes.committed.get(timeout=PATIENCE_S) for _ in range(6)] == [[(str(i), 2 * i + 1)] for i in range(6)]
    assert writer.close(PATIENCE_S)


def test_too_much_waiting_is_refused_until_it_is_stored(outcomes: Outcomes, log: GatedLog) -> None:
    writer = outcomes.writer(lambda: log, max_waiting_events=3)
    writer.start()

    accepted = [writer.submit(batch_of([b"a", b"b"]), "one"), writer.submit(batch_of([b"a", b"b"]), "two")]
    log.gate.release()
    outcomes.committed.get(timeout=PATIENCE_S)

    assert accepted == [True, False]
    assert writer.submit(batch_of([b"a", b"b"]), "three")


def test_waiting_bytes_are_bounded_too(outcomes: Outcomes, log: GatedLog) -> None:
    writer = outcomes.writer(lambda: log, max_waiting_bytes=100)
    writer.start()

    assert not writer.submit(batch_of([b"a" * 101]), "one")
    assert writer.waiting_events == 0


def test_unavailable_log_fails_that_commit_and_goes_on(outcomes: Outcomes, log: GatedLog) -> None:
    log.errors = [LogUnavailable("disk full")]
    writer = outcomes.writer(lambda: log)
    writer.start()
    log.gate.release(2)

    writer.submit(batch_of([b"a"]), "one")
    tokens, error = outcomes.failed.get(timeout=PATIENCE_S)
    writer.submit(batch_of([b"b"]), "two")

    assert (tokens, str(error)) == (["one"], "disk full")
    assert outcomes.committed.get(timeout=PATIENCE_S) == [("two", 1)]
    assert writer.close(PATIENCE_S)
    assert writer.waiting_events == 0


@pytest.mark.parametrize("error", [LogDamaged("fsync"), ZeroDivisionError("a mistake")])
def test_damaged_log_fails_all_that_wait_and_ends(outcomes: Outcomes, log: GatedLog, error: Exception) -> None:
    log.errors = [error]
    writer = outcomes.writer(lambda: log)
    writer.start()
    writer.submit(batch_of([b"a"]), "one")
    log.entered.get(timeout=PATIENCE_S)
    writer.submit(batch_of([b"b"]), "two")

    log.gate.release()

    assert isinstance(outcomes.fatal.get(timeout=PATIENCE_S), LogDamaged)
    assert [outcomes.failed.get(timeout=0)[0] for _ in range(2)] == [["one"], ["two"]]
    assert not writer.submit(batch_of([b"c"]), "three")
    assert writer.close(PATIENCE_S)
    assert log.closed


def test_closing_stores_what_waits(outcomes: Outcomes, log: GatedLog) -> None:
    writer = outcomes.writer(lambda: log)
    writer.start()
    for index in range(5):
        writer.submit(batch_of([b"a"]), str(index))

    log.gate.release(5)

    assert writer.close(PATIENCE_S)
    assert log.head() == 5
    assert log.closed
    assert not writer.submit(batch_of([b"a"]), "late")


def test_closing_gives_up_after_its_time(outcomes: Outcomes, log: GatedLog) -> None:
    writer = outcomes.writer(lambda: log)
    writer.start()
    writer.submit(batch_of([b"a"]), "one")

    assert not writer.close(0)


def test_log_that_cannot_be_opened_fails_the_start(outcomes: Outcomes, tmp_path: Path) -> None:
    writer = outcomes.writer(lambda: SqliteLog(tmp_path / "events.db", create=False))

    with pytest.raises(LogDamaged, match="missing"):
        writer.start()

    assert not writer.submit(batch_of([b"a"]), "one")
    assert writer.close(PATIENCE_S)


def test_bell_rings_after_the_commit(tmp_path: Path) -> None:
    watch = BellWatch(tmp_path / "bell")
    heads: SimpleQueue[Offset] = SimpleQueue()
    log = MemoryLog()
    writer: GroupCommit[str] = GroupCommit(
        lambda: log,
        on_committed=lambda done, n_left_out: heads.put(log.head()),
        on_failed=lambda tokens, error: None,
        on_fatal=lambda error: None,
        bell=Bell(tmp_path / "bell"),
    )
    writer.start()

    writer.submit(batch_of([b"a"]), "one")

    assert watch.wait(PATIENCE_S)
    assert heads.get(timeout=PATIENCE_S) == 1
    assert rung(tmp_path / "bell") == 1
    assert writer.close(PATIENCE_S)
    watch.close()


def test_many_threads_may_submit(outcomes: Outcomes, tmp_path: Path) -> None:
    writer = outcomes.writer(lambda: SqliteLog(tmp_path / "events.db"), max_waiting_events=1_000)
    writer.start()

    def submit(name: str) -> None:
        for index in range(50):
            assert writer.submit(batch_of([b"a"]), f"{name}-{index}")

    threads = [threading.Thread(target=submit, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(PATIENCE_S)

    done = [pair for _ in range(outcomes.committed.qsize()) for pair in outcomes.committed.get()]
    assert sorted(offset for _, offset in done) == list(range(1, 201))
    assert len({token for token, _ in done}) == 200


def named(message_ids: str) -> EventBatch:
    """A batch of events with these ids of one letter."""
    batch = EventBatch()
    for message_id in message_ids:
        add_event(batch, b"{}", message_id=message_id)
    return batch


@pytest.mark.parametrize(
    ("again", "head"),
    [
        pytest.param(["ab"], 3, id="all of it"),
        pytest.param(["cd"], 4, id="a part"),
        pytest.param(["dd"], 4, id="one event twice"),
        pytest.param(["de", "a"], 5, id="all of the last batch"),
        pytest.param(["a", "da", "eb"], 5, id="something of each"),
    ],
)
def test_bell_tells_no_event_that_was_left_out(tmp_path: Path, again: list[str], head: int) -> None:
    bell = Bell(tmp_path / "bell")
    commit: Commit[str] = Commit(
        on_committed=lambda done, n_left_out: None,
        on_failed=lambda tokens, error: None,
        bell=bell,
        clock=lambda: 1.5,
    )
    log = SqliteLog(tmp_path / "events.db", seen=SeenIds(window_s=60.0, max_ids=100))
    commit(log, [(named("abc"), "before")])

    commit(log, [(named(ids), "again") for ids in again])

    assert (log.head(), rung(tmp_path / "bell")) == (head, head)
    log.close()
    check_end(tmp_path / "events.db", acknowledged=rung(tmp_path / "bell"))
    bell.close()

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import apsw
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.accounts import read_state, store_schema, words_of
from sluicegate.audit import chain
from sluicegate.audit.beginning import before_first
from sluicegate.audit.chain import Decisions, add_decisions, add_later, counts_of, later
from sluicegate.audit.column import add_version
from sluicegate.audit.reading import Checked, check, entries_of, hash_at, ranges, rows_after
from sluicegate.audit.trim import forget_decisions
from sluicegate.audit.words import Final, final
from sluicegate.config.model import Requirement
from sluicegate.delivery.decided import in_order
from sluicegate.sqlite import connect, transaction
from tests.delivery.old_layouts import take_back

START = 100
DELIVERED, DENIED, DEAD = "delivered", "denied:consent_denied", "dead"


class Chain:
    """A chain with what was written to it, in the plainest form."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = connect(path, store_schema(START))
        self.cursor = START
        self.final: dict[int, tuple[str, int]] = {}

    def settle(self, *outcomes: tuple[str, int], at_ms: int = 0) -> None:
        decisions = Decisions()
        for word, version in outcomes:
            decisions.column.add_run(word, 1)
            add_version(decisions.versions, 1, version)
            self.cursor += 1
            self.final[self.cursor] = (word, version)
        with transaction(self.db):
            add_decisions(self.db, decisions, last=self.cursor, now_ms=at_ms)

    def correct(self, offsets: dict[int, str], *, was: str, version: int = 0, at_ms: int = 0) -> None:
        told, decisions = later((offset, word, version) for offset, word in offsets.items())
        self.final.update({offset: (word, version) for offset, word in offsets.items()})
        with transaction(self.db):
            add_later(self.db, told, decisions, was=was, now_ms=at_ms)

    @property
    def counts(self) -> dict[str, int]:
        words = [word for word, _ in self.final.values()]
        return {word: words.count(word) for word in words}

    def check(self, **changed: int) -> Checked:
        return check(self.db, cursor=self.cursor, counts=self.counts | changed, now_ms=0)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Chain]:
    one = Chain(tmp_path / "crm.db")
    for minute in range(6):
        at_ms = minute * chain.GROW_MS
        one.settle((DELIVERED, 1), (DENIED, 2), (DEAD, 2), at_ms=at_ms)
        one.correct({one.cursor: DELIVERED}, was=DEAD, version=9, at_ms=at_ms)
    yield one
    one.db.close()


def rows(db: apsw.Connection) -> list[chain.Row]:
    return list(rows_after(db, 0))


def test_every_event_has_the_decision_that_was_written_last(told: Chain) -> None:
    found = {offset: entries_of(told.db, offset)[-1] for offset in told.final}

    assert {offset: (entry.word, entry.version) for offset, entry in found.items()} == told.final
    assert entries_of(told.db, START) == entries_of(told.db, told.cursor + 1) == []


def test_later_decision_says_what_it_replaced(told: Chain) -> None:
    first, second = entries_of(told.db, START + 3)

    assert (first.word, first.was, second.word, second.was) == (DEAD, "", DELIVERED, DEAD)


def test_commits_within_a_minute_share_a_row_of_each_kind(tmp_path: Path) -> None:
    one = Chain(tmp_path / "crm.db")

    for at_ms in range(0, chain.GROW_MS, 100):
        one.settle((DEAD, 1), (DELIVERED, 1), at_ms=at_ms)
        one.correct({one.cursor - 1: DELIVERED}, was=DEAD, at_ms=at_ms)

    assert [row.later for row in rows(one.db)] == [0, 1]
    assert one.check().fault is None
    one.db.close()


def test_whole_chain_adds_up_and_reaches_the_cursor(told: Chain) -> None:
    checked = told.check()

    assert (checked.fault, checked.n_events, +checked.counts) == (None, 18, Counter(told.counts))
    assert (checked.first_row, checked.n_rows, checked.since) == (1, 12, START)


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("UPDATE decisions SET story = (SELECT story FROM decisions WHERE number = 4) WHERE number = 3", "row 3 "),
        ("UPDATE decisions SET at_ms = at_ms + 1 WHERE number = 5", "row 5 "),
        ("UPDATE decisions SET first = first - 1, last = last - 1 WHERE number = 7", "row 7 "),
        ("UPDATE decisions SET hash = zeroblob(32) WHERE number = 2", "row 2 "),
        ("DELETE FROM decisions WHERE number = 6", "row 6 is missing"),
        ("DELETE FROM decisions WHERE number = 1", "row 1 is missing"),
        ("DELETE FROM decisions WHERE number = 12", "the rows add up to 1 dead, but 0 are counted"),
        ("DELETE FROM decisions WHERE number > 10", "the newest row ends at event 115, but the cursor is at 118"),
        (
            "INSERT INTO decisions SELECT number + 1, later, first, last, at_ms, story, hash "
            "FROM decisions WHERE number = 12",
            "row 13 ",
        ),
        ("UPDATE decisions_before SET hash = zeroblob(31)", "row 1 "),
        ("UPDATE decisions_before SET counts = '{\"delivered\": 1}'", "the counts before row 1 "),
        ("DELETE FROM decisions_before", "the beginning of the chain is missing"),
    ],
)
def test_statement_53_chain_breaks_on_a_row_that_was_changed_removed_or_added(
    told: Chain, sql: str, fault: str
) -> None:
    told.db.close()
    stranger = apsw.Connection(str(told.path))
    stranger.execute(sql)
    stranger.close()
    told.db = connect(told.path, store_schema(START))

    found = told.check().fault

    assert found is not None
    assert found.startswith(fault)


def test_row_that_was_removed_with_its_hash_repaired_shows_in_the_accounts(told: Chain) -> None:
    told.db.execute("DELETE FROM decisions WHERE number > 10")

    assert told.check().fault is not None


def test_counts_that_differ_from_the_accounts_are_told(told: Chain) -> None:
    assert told.check(delivered=1).fault == "the rows add up to 12 delivered, but 1 are counted"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_history_adds_up_and_every_flipped_byte_is_found(seed: int) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        one = Chain(Path(folder) / "crm.db")
        at_ms = 0
        for _ in range(random.randrange(1, 25)):
            at_ms += random.choice([0, 1, 500, 20_000, chain.GROW_MS, -5])
            dead = [offset for offset, (word, _) in one.final.items() if word == DEAD]
            if dead and random.random() < 0.4:
                some = random.sample(dead, random.randrange(1, len(dead) + 1))
                words = {offset: random.choice([DELIVERED, "denied:withdrawn"]) for offset in some}
                one.correct(words, was=DEAD, version=random.randrange(3), at_ms=at_ms)
            else:
                many = random.choice([1, 3, 40])
                words_ = [random.choice([DELIVERED, DENIED, DEAD]) for _ in range(many)]
                one.settle(*((word, random.randrange(2)) for word in words_), at_ms=at_ms)

        assert one.check().fault is None
        assert {o: entries_of(one.db, o)[-1][:2] for o in one.final} == one.final
        exported = {o: (word, v) for row in rows(one.db) for a, b, word, v in ranges(row) for o in range(a, b + 1)}
        last = [row for row in rows(one.db) if row.later]
        assert exported.keys() == one.final.keys()
        assert last or exported == one.final
        row = random.choice(rows(one.db))
        place = random.randrange(len(row.story))
        story = bytearray(row.story)
        story[place] ^= 1 << random.randrange(8)
        one.db.execute("UPDATE decisions SET story = ? WHERE number = ?", (bytes(story), row.number))
        assert (one.check().fault or "").startswith(f"row {row.number} ")
        one.db.close()


def test_old_decisions_go_and_the_rest_still_verifies(told: Chain) -> None:
    gone = forget_decisions(told.db, before_ms=3 * chain.GROW_MS)

    checked = told.check()
    assert gone == 6
    assert (checked.fault, checked.first_row, checked.since, checked.n_rows) == (None, 7, START + 9, 6)
    assert entries_of(told.db, START + 9) == []
    assert entries_of(told.db, START + 10)[-1].word == DELIVERED


def test_chain_of_which_all_is_old_keeps_its_newest_row_and_goes_on(told: Chain) -> None:
    forget_decisions(told.db, before_ms=10**15)

    told.settle((DENIED, 3), at_ms=10**15)

    checked = told.check()
    assert (checked.fault, checked.n_rows, checked.first_row) == (None, 2, 12)


@pytest.mark.parametrize("before_ms", [0, 3 * chain.GROW_MS, 10**15])
def test_counts_before_the_first_row_that_were_changed_with_the_accounts_are_told(told: Chain, before_ms: int) -> None:
    forget_decisions(told.db, before_ms=before_ms)
    changes = {DELIVERED: 1, DENIED: -1}
    counts = Counter(before_first(told.db).counts)
    counts.update(changes)
    told.db.execute("UPDATE decisions_before SET counts = ?", (json.dumps(counts),))

    changed = {word: told.counts[word] + n for word, n in changes.items()}

    assert (told.check(**changed).fault or "").startswith("the counts before row ")


def test_chain_from_before_its_rows_told_the_counts_goes_on_with_them(told: Chain) -> None:
    without_totals(told)
    old = told.check()
    told.settle((DELIVERED, 1), at_ms=9 * chain.GROW_MS)

    totals = [chain.Story.unpacked(row.story).totals for row in rows(told.db)]

    assert old.fault is told.check().fault is None
    assert totals == [None] * 12 + [told.counts]


def test_chain_that_is_too_long_to_be_added_up_goes_on_without_counts(
    told: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_totals(told)
    monkeypatch.setattr(chain, "MAX_ADDED_UP", 11)

    told.settle((DELIVERED, 1), at_ms=9 * chain.GROW_MS)

    assert chain.Story.unpacked(rows(told.db)[-1].story).totals is None
    assert told.check().fault is None


def without_totals(told: Chain) -> None:
    """Make the chain one of an older version."""
    hash_ = before_first(told.db).hash
    for row in rows(told.db):
        row = replace(row, story=msgpack.packb(msgpack.unpackb(row.story)[:7])).hashed(hash_)
        told.db.execute(
            "UPDATE decisions SET (story, hash) = (?, ?) WHERE number = ?", (row.story, row.hash, row.number)
        )
        hash_ = row.hash


def test_broken_row_is_not_forgotten_for_its_age(told: Chain) -> None:
    told.db.execute("UPDATE decisions SET at_ms = 1 WHERE number = 4")

    assert forget_decisions(told.db, before_ms=10**15) == 3
    assert (told.check().fault or "").startswith("row 4 ")


@pytest.mark.parametrize(
    "damage",
    [
        "story = x'00ff' WHERE number = 12",
        "story = x'00ff' WHERE number = 11",
        "at_ms = at_ms + 1 WHERE number = 12",
        "at_ms = at_ms + 1 WHERE number = 11",
    ],
)
def test_damaged_row_at_the_end_stops_nobody_and_is_found_afterwards(told: Chain, damage: str) -> None:
    told.db.execute(f"UPDATE decisions SET {damage}")

    for _ in range(2):
        told.settle((DELIVERED, 1), at_ms=5 * chain.GROW_MS)
        told.correct({told.cursor - 1: DENIED}, was=DELIVERED, at_ms=5 * chain.GROW_MS)

    assert (told.check().fault or "").startswith(f"row {damage[-2:]} ")


def test_head_is_a_row_that_does_not_grow_any_more(told: Chain) -> None:
    before = told.check()

    told.settle((DELIVERED, 1), at_ms=5 * chain.GROW_MS + 5)
    after = told.check()

    assert before.head == after.head == 10
    assert before.head_hash == after.head_hash
    assert told.check().n_rows == 12


def test_head_that_was_told_stays_when_the_clock_goes_back_and_forth(tmp_path: Path) -> None:
    one, hour_ms = Chain(tmp_path / "crm.db"), 60 * chain.GROW_MS
    one.settle((DEAD, 1), (DEAD, 1), at_ms=hour_ms)
    one.correct({one.cursor: DELIVERED}, was=DEAD, at_ms=0)
    told = check(one.db, cursor=one.cursor, counts=one.counts, now_ms=hour_ms)

    one.settle((DELIVERED, 1), at_ms=hour_ms + 1)

    assert told.fault is None
    assert not told.head or hash_at(one.db, told.head) == told.head_hash
    one.db.close()


def test_store_from_before_the_chain_begins_it_with_what_was_counted(tmp_path: Path) -> None:
    db = connect(tmp_path / "crm.db", store_schema(0))
    take_back(db, 2)
    db.execute("UPDATE state SET cursor = 20, delivered = 8, dead = 2, expired = 7")
    db.execute("INSERT INTO denied VALUES ('withdrawn', 3); INSERT INTO expired_by VALUES ('damaged in the log', 4)")
    db.close()

    db = connect(tmp_path / "crm.db", store_schema(0))

    checked = check(db, cursor=20, counts=words_of(read_state(db)), now_ms=0)
    assert (checked.fault, checked.since) == (None, 20)
    assert before_first(db).counts == {
        "delivered": 8,
        "delivered:redacted": 0,
        "dead": 2,
        "expired": 3,
        "denied:withdrawn": 3,
        "expired:damaged in the log": 4,
    }
    db.close()


@pytest.mark.parametrize(
    ("word", "decision"),
    [
        ("delivered", Final.DELIVERED),
        ("delivered:redacted", Final.REDACTED),
        ("dead", Final.FAILED),
        ("expired", Final.EXPIRED),
        ("expired:damaged in the log", Final.DAMAGED),
        ("expired:hold_expired", Final.HOLD_EXPIRED),
        ("expired:anything", Final.EXPIRED),
        ("denied:consent_denied", Final.DENIED),
        ("denied:consent_undecided", Final.UNDECIDED),
        ("denied:withdrawn", Final.WITHDRAWN),
        ("denied:denied_at_collection", Final.DENIED_AT_COLLECTION),
        ("denied:too_old", Final.TOO_OLD),
        ("denied:event_type", Final.NOT_SELECTED),
        ("denied:delivered", Final.SKIPPED),
        ("held", Final.HELD),
    ],
)
def test_every_word_comes_to_one_decision(word: str, decision: Final) -> None:
    assert final(word) is decision


@pytest.mark.parametrize("break_it", [lambda s: s.versions.clear(), lambda s: s.column.add_run(DELIVERED, 1)])
def test_row_that_contradicts_itself_is_told(told: Chain, break_it: Callable[[chain.Story], object]) -> None:
    row = rows(told.db)[0]
    story = chain.Story.unpacked(row.story)
    break_it(story)

    with pytest.raises(ValueError, match="it has"):
        counts_of(chain.Row(1, 0, row.first, row.last, 0, story.packed()))


def test_each_decision_is_told_with_what_was_required_when_it_was_taken(tmp_path: Path) -> None:
    db = connect(tmp_path / "crm.db", store_schema(0))
    loose, strict = Requirement(("measurement",)), Requirement(("measurement",), ("marketing", "experience"))
    with transaction(db):
        for last, requires in ((1, loose), (2, loose), (3, strict), (4, None)):
            add_decisions(db, in_order(1, 0, 0, {}), last=last, now_ms=0, requires=requires)
        add_later(db, *later([(2, DENIED, 1)]), was=DELIVERED, now_ms=0, requires=strict)

    found = [[entry.requires for entry in entries_of(db, offset)] for offset in (1, 2, 3, 4)]

    assert found == [[loose], [loose, strict], [strict], [None]]
    assert len(rows(db)) == 4
    db.close()


def test_row_from_before_requirements_were_kept_is_read(told: Chain) -> None:
    (row, *_) = rows(told.db)
    packed = msgpack.packb(msgpack.unpackb(row.story)[:6])

    story = chain.Story.unpacked(packed)

    assert (story.requires, story.column.counts()) == (None, chain.Story.unpacked(row.story).column.counts())


@pytest.mark.parametrize("place", [-1, -2])
@pytest.mark.parametrize("value", [0x00, 0x7F, 0x80, 0x90, 0xC4, 0xCB, 0xCF, 0xD4, 0xD7, 0xDF, 0xF5, 0xFF])
def test_row_with_any_damaged_byte_is_read_or_refused(told: Chain, place: int, value: int) -> None:
    told.settle((DELIVERED, 1), (DENIED, 1), (DELIVERED, 3), *[(DENIED, 2)] * 50, at_ms=10**12)
    told.correct({119: DELIVERED, 120: DELIVERED, 121: DENIED}, was=DENIED, at_ms=10**12)
    row = rows(told.db)[place]

    for at in range(len(row.story)):
        story = row.story[:at] + bytes((value,)) + row.story[at + 1 :]
        told.db.execute("UPDATE decisions SET story = ? WHERE number = ?", (story, row.number))
        with suppress(ValueError):
            counts_of(replace(row, story=story))
        with suppress(ValueError):
            assert all(final(word) for _, _, word, _ in islice(ranges(replace(row, story=story)), 1_000))
        with suppress(ValueError):
            assert all(final(entry.word) for entry in entries_of(told.db, 120))

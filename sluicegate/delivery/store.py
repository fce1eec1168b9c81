"""The store of one destination: its cursor, the epoch that may commit, its counts, its dead letters, the events that
wait for a decision, and what is remembered of events that are on their way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import apsw

from sluicegate.accounts import DAMAGED, StoreState, read_state, store_schema
from sluicegate.audit.chain import Decisions, add_decisions, add_later, later
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD, REDACTED
from sluicegate.audit.words import denied as denied_word
from sluicegate.audit.words import expired as expired_word
from sluicegate.config.model import Requirement
from sluicegate.consent.standing import ERASED
from sluicegate.delivery.beyond import Beyond, Remembered
from sluicegate.delivery.beyond_store import BeyondTable
from sluicegate.delivery.decided import delivered_words, in_order
from sluicegate.delivery.held import (
    HOLD_LIMIT,
    HeldChanges,
    HeldEvents,
    Holds,
    insert_held,
    note_held_deaths,
    release_held,
    remove_held,
)
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import (
    DeadLetter,
    DeadLetters,
    Tried,
    fail_letters,
    insert_letters,
    letter_offsets,
    remove_letters,
)
from sluicegate.delivery.pending import (
    add_deaths,
    erased_words_of,
    load_retries,
    load_suspects,
    save_restraint,
    save_retries,
    take_restraint,
)
from sluicegate.delivery.recovery import Suspect
from sluicegate.delivery.restraint import Restraint
from sluicegate.errors import StaleEpoch
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import connect, errors_of, transaction

_NOTHING: Mapping[str, int] = {}
_NO_VERSIONS: Mapping[int, int] = {}


class DestinationStore:
    """One destination's SQLite file; an instance belongs to one thread, several processes may have the file open.

    Every change is one transaction. What a killed process committed stays; a power cut may take back the last commits
    (`synchronous=NORMAL`), which moves the cursor back and so repeats deliveries, and loses no event.
    """

    def __init__(
        self, connection: apsw.Connection, path: Path, *, requires: Requirement | None = None, config_hash: str = ""
    ) -> None:
        self.path = path
        self.config_hash = config_hash
        self._requires = requires
        self._db = connection
        self.letters = DeadLetters(connection, path)
        self.held = HeldEvents(connection, path)
        self._knows_deaths = False
        self._beyond = BeyondTable(connection, requires)

    @classmethod
    def open(
        cls, path: Path, *, start: Offset, requires: Requirement | None = None, config_hash: str = ""
    ) -> DestinationStore:
        """Open the store; a new one has everything up to `start` behind it, an old one keeps its own start.

        `requires` is what the destination requires, for whoever writes decisions: the proof names it with them.
        `config_hash` tells how it is configured, for whoever delivers: dead letters name it.
        """
        connection = connect(path, store_schema(start), synchronous="NORMAL")
        return cls(connection, path, requires=requires, config_hash=config_hash)

    @property
    def state(self) -> StoreState:
        """Cursor, epoch and counts of one moment."""
        with errors_of(self.path):
            return read_state(self._db)

    def claim(self, epoch: int) -> StoreState:
        """Make `epoch` the one that may commit and return what it takes over; `StaleEpoch` unless it is greater."""
        with errors_of(self.path), transaction(self._db):
            self._db.execute("UPDATE state SET epoch = ?1 WHERE epoch < ?1", (epoch,))
            if not self._db.changes():
                raise StaleEpoch(f"{self.path.stem}: epoch {epoch} comes after epoch {read_state(self._db).epoch}")
            return read_state(self._db)

    def note_deaths(
        self,
        epoch: int,
        died: int,
        *,
        calls: Sequence[Sequence[Offset]],
        replayed: Sequence[int],
        reason: str,
        released: Sequence[Offset] = (),
    ) -> None:
        """The process of epoch `died` ended during these calls; its replays, by letter id, have failed for `reason`.

        `released` are the events among them that were held before.

        May be told twice. Raises `StaleEpoch` like `commit`.
        """
        alone = len(calls) == 1 and len(calls[0]) == 1 and not (replayed or released)
        with errors_of(self.path), transaction(self._db):
            state = read_state(self._db)
            if state.epoch != epoch:
                self._refuse(epoch, "")
            add_deaths(self._db, died, [[o for o in call if o > state.cursor] for call in calls], alone=alone)
            fail_letters(self._db, dict.fromkeys(replayed, reason), now_ms=None)
            if released:
                note_held_deaths(self._db, died, released)

    def unsettled(self) -> tuple[list[PendingRetry], list[Suspect]]:
        """What earlier processes have left of events that they did not settle."""
        with errors_of(self.path), transaction(self._db):
            self._db.execute("DELETE FROM deaths WHERE log_offset <= (SELECT cursor FROM state)")
            suspects = load_suspects(self._db)
            self._knows_deaths = bool(suspects)
            return load_retries(self._db), suspects

    def remembered(self, epoch: int, *, head: Offset) -> Remembered:
        """What earlier processes have settled beyond the cursor of a log that ends at `head`."""
        with errors_of(self.path), transaction(self._db):
            state = read_state(self._db)
            if state.epoch != epoch:
                self._refuse(epoch, "")
            return self._beyond.load(cursor=state.cursor, head=head)

    def restrained(self, epoch: int, config_hash: str) -> Restraint | None:
        """What held calls back when the last process ended; None when the destination was configured otherwise."""
        with errors_of(self.path), transaction(self._db):
            if read_state(self._db).epoch != epoch:
                self._refuse(epoch, "")
            return take_restraint(self._db, config_hash)

    def remember_refusal(self, epoch: int, config_hash: str) -> None:
        """The vendor refuses us as a whole, as we are configured now."""
        with errors_of(self.path), transaction(self._db):
            if read_state(self._db).epoch != epoch:
                self._refuse(epoch, "")
            self._db.execute("DELETE FROM refused")
            self._db.execute("INSERT INTO refused VALUES (?)", (config_hash,))

    def commit(
        self,
        epoch: int,
        *,
        cursor: Offset,
        delivered: int = 0,
        expired: int = 0,
        damaged: int = 0,
        denied: Mapping[str, int] = _NOTHING,
        dead_letters: Sequence[DeadLetter] = (),
        retries: Sequence[PendingRetry] | None = None,
        restraint: Restraint | None = None,
        held: Holds | None = None,
        decisions: Decisions | None = None,
        redacted: int = 0,
        beyond: Beyond | None = None,
    ) -> None:
        """Move the cursor and count what it passed, all or nothing.

        `damaged` counts as expired, for that reason; `retries` and `restraint`, if given, replace those remembered. Of
        `held` those are denied for which there is no room. `redacted` of the delivered events went redacted.
        `decisions` tells of every event what is counted here, in order; who leaves it out has settled them in the order
        of the counts. `beyond` is what has been settled beyond the new cursor since the last commit; it counts when the
        cursor passes it.
        Raises `StaleEpoch` when another epoch has claimed the store, `ValueError` when the counts are not what the
        cursor moves by.
        """
        n_dead = len(dead_letters)
        counted = _total(delivered, expired + damaged, denied) + n_dead + _n_held(held)
        with errors_of(self.path), transaction(self._db):
            self._db.execute(
                "UPDATE state SET cursor = ?1, delivered = delivered + ?2, dead = dead + ?3, expired = expired + ?4 "
                "WHERE epoch = ?5 AND ?1 - cursor = ?6",
                (cursor, delivered, n_dead, expired + damaged, epoch, counted),
            )
            if not self._db.changes():
                self._refuse(epoch, f"the cursor moves to {cursor} but {counted} events are counted")
            self._count_denied(denied)
            self._count_damaged(damaged)
            self._count_redacted(redacted)
            if dead_letters:
                insert_letters(self._db, self._beyond.as_told(self._without_erased_words(dead_letters)))
            if decisions is None:
                offsets = [letter.offset for letter in dead_letters]
                first = cursor - counted + 1
                n_held = _n_held(held)
                counts = delivered, expired, damaged, denied
                decisions = in_order(*counts, held=n_held, redacted=redacted, dead=offsets, first=first)
            self._prove(decisions, counted, cursor)
            self._hold(held)
            if retries is not None:
                save_retries(self._db, retries)
            if restraint is not None:
                save_restraint(self._db, restraint)
            if self._knows_deaths:
                self._db.execute("DELETE FROM deaths WHERE log_offset <= ?", (cursor,))
            if beyond is not None and beyond.dead:
                beyond = replace(beyond, dead=self._without_erased_words(beyond.dead))
            self._beyond.write(cursor, beyond)
        self._beyond.written(cursor, beyond)

    def _without_erased_words(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        erased = erased_words_of(self._db)
        return [replace(one, first_error=ERASED) if one.offset in erased else one for one in letters]

    def skip(
        self,
        *,
        expected_epoch: int,
        expected_cursor: Offset,
        cursor: Offset,
        denied: Mapping[str, int] = _NOTHING,
        expired: int = 0,
        damaged: int = 0,
        held: Holds | None = None,
        decisions: Decisions | None = None,
    ) -> bool:
        """Move the cursor over events that need no delivery yet, if epoch and cursor still are as expected.

        For the router, on destinations that are not loaded; False and no change when somebody was faster, or when some
        of the events beyond have been settled: their process knows which.
        """
        counted = _total(0, expired + damaged, denied) + _n_held(held)
        if counted != cursor - expected_cursor:
            raise ValueError(f"the cursor moves by {cursor - expected_cursor} but {counted} events are counted")
        with errors_of(self.path), transaction(self._db):
            self._db.execute(
                "UPDATE state SET cursor = ?, expired = expired + ? WHERE epoch = ? AND cursor = ? "
                "AND NOT EXISTS (SELECT 1 FROM beyond WHERE last > cursor) "
                "AND NOT EXISTS (SELECT 1 FROM beyond_dead WHERE log_offset > cursor)",
                (cursor, expired + damaged, expected_epoch, expected_cursor),
            )
            if not self._db.changes():
                return False
            self._count_denied(denied)
            self._count_damaged(damaged)
            decisions = decisions or in_order(0, expired, damaged, denied, held=_n_held(held))
            self._prove(decisions, counted, cursor)
            self._hold(held)
        return True

    def settle_held(self, epoch: int, changes: HeldChanges) -> None:
        """Say how held events ended and which may go out; what is not held any more changes nothing.

        Raises `StaleEpoch` like `commit`.
        """
        with errors_of(self.path), transaction(self._db):
            if read_state(self._db).epoch != epoch:
                self._refuse(epoch, "")
            there = set(remove_held(self._db, [dead.offset for dead in changes.dead]))
            letters = [dead for dead in changes.dead if dead.offset in there]
            insert_letters(self._db, letters)
            words = dict.fromkeys(there, DEAD)
            words |= delivered_words(remove_held(self._db, changes.delivered), changes.redacted)
            words |= dict.fromkeys(remove_held(self._db, changes.damaged), expired_word(DAMAGED))
            words |= dict.fromkeys(remove_held(self._db, changes.gone), EXPIRED)
            refused = remove_held(self._db, changes.denied)
            words |= {offset: denied_word(changes.denied[offset]) for offset in refused}
            ended = Counter(words.values())
            n_damaged = ended[expired_word(DAMAGED)]
            self._db.execute(
                "UPDATE state SET delivered = delivered + ?, dead = dead + ?, expired = expired + ?",
                (ended[DELIVERED] + ended[REDACTED], len(letters), ended[EXPIRED] + n_damaged),
            )
            self._count_denied(Counter([changes.denied[offset] for offset in refused]))
            self._count_damaged(n_damaged)
            version_of, otherwise = changes.versions, changes.considered or 0
            self._prove_later([(o, word, version_of.get(o, otherwise)) for o, word in words.items()], was=HELD)
            self._count_redacted(ended[REDACTED])
            release_held(self._db, changes.released)
            if changes.considered is not None:
                self._db.execute("UPDATE state SET considered = ?, held_under = ?", (changes.considered, changes.under))

    def settle_replay(
        self,
        epoch: int,
        *,
        delivered: Sequence[int] = (),
        failed: Mapping[int, str],
        denied: Mapping[int, str],
        now_ms: int,
        versions: Mapping[int, int] = _NO_VERSIONS,
        redacted: Set[int] = frozenset(),
    ) -> None:
        """Say how replays ended, by letter id: `failed` has the new reason, `denied` the reason of the denial.

        `versions` has the ledger versions by which that was decided; `redacted` are those delivered that went redacted.
        Delivered and denied letters are removed and counted as such instead of as dead. Ids that are not there, or were
        settled already, change nothing. Raises `StaleEpoch` like `commit`.
        """
        with errors_of(self.path), transaction(self._db):
            if read_state(self._db).epoch != epoch:
                self._refuse(epoch, "")
            offset_of = letter_offsets(self._db, [*delivered, *denied])
            gone = remove_letters(self._db, delivered)
            n_delivered = len(gone)
            refused = remove_letters(self._db, list(denied))
            reasons = [denied[id_] for id_ in refused]
            words = delivered_words(gone, redacted) | {id_: denied_word(denied[id_]) for id_ in refused}
            offsets, decisions = later((offset_of[id_], word, versions.get(id_, 0)) for id_, word in words.items())
            add_later(self._db, offsets, decisions, was=DEAD, now_ms=now_ms, requires=self._requires)
            fail_letters(self._db, failed, now_ms=now_ms, tried=Tried(epoch, self.config_hash, versions))
            self._db.execute(
                "UPDATE state SET dead = dead - ?, delivered = delivered + ?",
                (n_delivered + len(reasons), n_delivered),
            )
            self._count_denied({reason: reasons.count(reason) for reason in set(reasons)})
            self._count_redacted(list(words.values()).count(REDACTED))

    def data_version(self) -> int:
        """A number that changes when another connection has changed the store; about 5 us."""
        with errors_of(self.path):
            version: int = self._db.pragma("data_version")
        return version

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _prove(self, decisions: Decisions, n_events: int, cursor: Offset) -> None:
        if len(decisions) != n_events:
            raise ValueError(f"{n_events} events are counted, but {len(decisions)} decisions are told")
        now_ms = time.time_ns() // 1_000_000
        add_decisions(self._db, decisions, last=cursor, now_ms=now_ms, requires=self._requires)

    def _hold(self, held: Holds | None) -> None:
        if held is not None and (refused := insert_held(self._db, held)):
            self._count_denied({HOLD_LIMIT: len(refused)})
            self._prove_later([(offset, denied_word(HOLD_LIMIT), held.considered) for offset in refused], was=HELD)

    def _prove_later(self, outcomes: Iterable[tuple[int, str, int]], *, was: str) -> None:
        offsets, decisions = later(outcomes)
        now_ms = time.time_ns() // 1_000_000
        add_later(self._db, offsets, decisions, was=was, now_ms=now_ms, requires=self._requires)

    def _count_denied(self, denied: Mapping[str, int]) -> None:
        if denied:
            self._db.executemany(
                "INSERT INTO denied VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", list(denied.items())
            )

    def _count_redacted(self, redacted: int) -> None:
        if redacted:
            self._db.execute("UPDATE state SET redacted = redacted + ?", (redacted,))

    def _count_damaged(self, damaged: int) -> None:
        if damaged:
            self._db.execute(
                "INSERT INTO expired_by VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", (DAMAGED, damaged)
            )

    def _refuse(self, epoch: int, mistake: str) -> None:
        current = read_state(self._db).epoch
        if current != epoch:
            raise StaleEpoch(f"{self.path.stem}: epoch {epoch} was replaced by epoch {current}")
        raise ValueError(mistake)


def _n_held(held: Holds | None) -> int:
    return 0 if held is None else len(held.rows)


def _total(delivered: int, expired: int, denied: Mapping[str, int]) -> int:
    if min(delivered, expired, *denied.values()) < 0:
        raise ValueError("a count is negative")
    return delivered + expired + sum(denied.values())

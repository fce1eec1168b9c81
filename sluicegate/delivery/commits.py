"""What has been settled and is still to be written to the destination's store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from sluicegate import failpoints
from sluicegate.audit.column import set_version, version_at
from sluicegate.consent.moment import read_moment_ms
from sluicegate.delivery import trace
from sluicegate.delivery.beyond import Beyond
from sluicegate.delivery.decided import decisions_of
from sluicegate.delivery.held import HeldChanges
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.lane import Origin, PendingRetry
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.plugin import MAX_RESPONSE_CHARS, Mask
from sluicegate.delivery.reader import Decide, Reader
from sluicegate.delivery.restraint import Restraint
from sluicegate.delivery.settlement import Aside, Dead, Progress
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.walltime import wall_ms
from sluicegate.delivery.whose import envelope, text_id
from sluicegate.event import MAX_COMBOS, About, Combo
from sluicegate.eventlog.runs import Events, PlainIds, Run
from sluicegate.routing import Decision

REPLAYS_AT_A_TIME = 500
UNKNOWN_COMBO = Combo("", "")
"""For a dead event that the log has already forgotten: without a stamp consent is undecided, so it is not replayed."""


class Commits:
    """Gathers progress from the lanes and commits it; what could not be committed stays gathered."""

    def __init__(
        self,
        store: DestinationStore,
        lanes: Lanes,
        reader: Reader,
        *,
        epoch: int,
        mask: Mask,
        holding: Holding | None = None,
    ) -> None:
        self._holding = holding
        self._mask = mask
        self._store = store
        self._lanes = lanes
        self._reader = reader
        self._epoch = epoch
        self._gathered = Progress(lanes.settlement.cursor)
        self._replayed = Aside()
        self._released = Aside()
        self._retries: list[PendingRetry] | None = None
        self._restraint: Restraint | None = None
        self._outage = lanes.breaker.outage
        self._store_version: int | None = None
        self.more_replays = False
        """Whether letters waited for replay beyond those that were taken, and these have been settled."""
        self.cursor = lanes.settlement.cursor
        self.delivered = 0

    @property
    def pending(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._moves or self._replayed or self._released)

    @property
    def _moves(self) -> bool:
        """Whether something of the log has changed: the cursor, or what is known of the events beyond it."""
        changed = self._retries is not None or self._restraint is not None
        return bool(len(self._gathered) or changed or self._lanes.settlement.news)

    @property
    def holds_some(self) -> bool:
        """Whether there are events to hold that are not in the store yet."""
        return bool(self._gathered.held)

    def gather(self, now: float, *, last: bool = False) -> bool:
        """Take what the lanes have settled; say whether there is something to commit. `last`: before the end."""
        progress = self._lanes.progress()
        if len(progress):
            self._gathered.add(progress)
        self._replayed.add(self._lanes.aside(Origin.LETTERS))
        self._released.add(self._lanes.aside(Origin.HELD))
        if self._holding is not None:
            self._holding.n_gathered = len(self._gathered.held)
            self._released.dead += self._holding.dead
            self._holding.dead = []
        retries = self._lanes.retries(now, anyway=last)
        if retries is not None:
            self._retries = [replace(retry, first_error=self._mask(retry.first_error)) for retry in retries]
        outage = self._lanes.breaker.outage
        if retries is not None or outage != self._outage:
            self._outage, self._restraint = outage, self._lanes.restraint(now)
        return self.pending

    def commit(self) -> None:
        """Write it; raises `StaleEpoch` and `LogError`, and then nothing is forgotten."""
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.BEFORE_CURSOR_COMMIT)
        gathered = self._gathered
        if self._moves:
            self._bar(gathered)
            letters = self._letters(gathered.dead, _versions_of(gathered))
            news = self._lanes.settlement.news
            dead = list(news.dead.values())
            self._store.commit(
                self._epoch,
                cursor=gathered.cursor,
                delivered=gathered.delivered,
                expired=gathered.expired,
                damaged=gathered.damaged,
                denied=gathered.denied,
                dead_letters=letters,
                retries=self._retries,
                restraint=self._restraint,
                held=self._holding.holds(gathered.held) if self._holding is not None and gathered.held else None,
                decisions=decisions_of(gathered, self._lanes.settlement.reasons),
                redacted=gathered.redacted,
                beyond=self._beyond(dead),
            )
            trace.dead(letters)
            news.kept(one.offset for one in dead)
            if self._holding is not None:
                self._holding.n_gathered = 0
            self._retries = self._restraint = None
            self._gathered = Progress(gathered.cursor)
            self.cursor = gathered.cursor
            self.delivered += gathered.delivered
        if self._released:
            self._settle_released(self._released)
        if self._replayed:
            self._settle()
            self.delivered += len(self._replayed.delivered)
            self._replayed = Aside()
            self.more_replays = self._store_version is None

    def _beyond(self, dead: Sequence[Dead]) -> Beyond | None:
        """What was settled beyond the cursor since the last commit, and why these are dead."""
        settlement = self._lanes.settlement
        if not settlement.news:
            return None
        kept = [one for one, reason in zip(dead, self._barred(dead), strict=True) if reason is None]
        versions = {one.offset: settlement.version_of(one.offset) for one in kept}
        return Beyond(settlement.blocks(), [replace(one, event=b"") for one in self._letters(kept, versions)])

    def _bar(self, gathered: Progress) -> None:
        """What was erased during its last call is no dead letter, which would keep it."""
        if not gathered.dead:
            return
        reasons = self._barred(gathered.dead)
        first = gathered.cursor - len(gathered) + 1
        for one, reason in zip(gathered.dead, reasons, strict=True):
            if reason is not None:
                gathered.denied[reason] = gathered.denied.get(reason, 0) + 1
                gathered.codes[one.offset - first] = self._lanes.settlement.code(reason)
                set_version(gathered.versions, one.offset - first, self._lanes.version)
        gathered.dead = [one for one, reason in zip(gathered.dead, reasons, strict=True) if reason is None]

    def _barred(self, dead: Sequence[Dead]) -> Sequence[str | None]:
        """For each why it may go nowhere and so must not be kept, None for most."""
        gate = self._lanes.gate
        if not dead or gate is None:
            return [None] * len(dead)
        members = [envelope(one.raw) for one in dead]
        subjects = [(text_id(one.get("userId")), text_id(one.get("anonymousId"))) for one in members]
        return gate.barred(subjects, [one.offset for one in dead])

    def take_replays(self, permits: Decide) -> None:
        """Give the lanes the dead letters that wait for replay, if the store was changed by others since the last time.

        Consent is decided again, now and before each call; letters that may no longer go out are counted as denied.
        Those that are on their way, because the vendor fails for them, keep no others waiting.
        """
        underway = self._lanes.letters
        unsettled = len(underway) >= REPLAYS_AT_A_TIME or self._lanes.has_replayed or self._replayed
        if unsettled or (version := self._store.data_version()) == self._store_version:
            return
        found = self._store.letters.replays(limit=REPLAYS_AT_A_TIME)
        letters = [letter for letter in found if letter.id not in underway]
        reasons = {letter.id: permits(letter.combo) for letter in letters}
        gate = self._lanes.gate
        if gate is not None:
            gate.refresh()
        gate_decides = str(Decision.CONSENT_UNDECIDED) if gate is not None and gate.completes else None
        denied = {id_: why for id_, why in reasons.items() if why is not None and why != gate_decides}
        if denied:
            now_ms, versions = wall_ms(time.monotonic()), dict.fromkeys(denied, self._lanes.version)
            self._store.settle_replay(self._epoch, failed={}, denied=denied, now_ms=now_ms, versions=versions)
        self._lanes.add_replays(_events([letter for letter in letters if letter.id not in denied]))
        # Last: what fails half-way is looked at again, although nobody changes the store.
        self._store_version = version if len(found) < REPLAYS_AT_A_TIME else None
        self.more_replays = False

    def _settle(self) -> None:
        self._store.settle_replay(
            self._epoch,
            delivered=self._replayed.delivered,
            failed={dead.offset: self._mask(dead.reason) for dead in self._replayed.dead},
            denied=self._replayed.denied,
            now_ms=wall_ms(time.monotonic()),
            versions=self._replayed.versions,
            redacted=self._replayed.redacted,
        )

    def _settle_released(self, ended: Aside) -> None:
        reasons = self._barred(ended.dead)
        kept = [one for one, reason in zip(ended.dead, reasons, strict=True) if reason is None]
        letters = self._letters(kept, ended.versions)
        barred = {one.offset: reason for one, reason in zip(ended.dead, reasons, strict=True) if reason is not None}
        changes = HeldChanges(
            delivered=ended.delivered,
            denied=ended.denied | barred,
            dead=letters,
            redacted=ended.redacted,
            versions=ended.versions,
        )
        self._store.settle_held(self._epoch, changes)
        trace.dead(letters)
        self.delivered += len(ended.delivered)
        self._released = Aside()
        if self._holding is not None:
            self._holding.settled(ended)

    def _letters(self, dead: Sequence[Dead], versions: Mapping[int, int]) -> list[DeadLetter]:
        """`versions` has the ledger versions by offset; one that is not in it was decided by the present one."""
        now_ms = wall_ms(time.monotonic())
        return [
            DeadLetter(
                offset=one.offset,
                message_id=one.message_id,
                combo=self._reader.combo(one.offset) or UNKNOWN_COMBO,
                event=one.raw,
                reason=self._mask(one.reason),
                attempts=one.attempts,
                first_attempt_at_ms=wall_ms(one.first_attempt),
                last_attempt_at_ms=wall_ms(one.last_attempt),
                entered_at_ms=now_ms,
                stage=one.stage,
                first_error=self._mask(one.first_error),
                http_status=one.status,
                response=self._mask(one.response, max_chars=MAX_RESPONSE_CHARS),
                epoch=one.epoch or self._epoch,
                config_hash=one.config_hash or self._store.config_hash,
                ledger_version=versions.get(one.offset, self._lanes.version),
            )
            for one in dead
        ]


def _versions_of(progress: Progress) -> dict[int, int]:
    """The ledger versions by which those were decided that are dead, by offset."""
    first = progress.cursor - len(progress) + 1
    return {one.offset: version_at(progress.versions, one.offset - first) for one in progress.dead}


def _events(letters: Sequence[DeadLetter]) -> Events:
    runs = []
    for first_attempt_ms, group in groupby(letters, attrgetter("first_attempt_at_ms")):
        alike = list(group)
        pieces = (alike[at : at + MAX_COMBOS] for at in range(0, len(alike), MAX_COMBOS))
        runs += [_run(piece, arrived_ms=first_attempt_ms) for piece in pieces]
    return Events(runs)


def _run(letters: Sequence[DeadLetter], *, arrived_ms: int) -> Run:
    # The letters' ids stand where the lanes have offsets: that is what `settle_replay` wants back.
    message_ids = [letter.message_id for letter in letters]
    ids = PlainIds(message_ids, message_ids, _about(letters))
    letter_ids, raws = [letter.id for letter in letters], [letter.event for letter in letters]
    log_offsets = [letter.offset for letter in letters]
    return Run.of(letter_ids, ids, raws, arrived_ms=arrived_ms, log_offsets=log_offsets)


def _about(letters: Sequence[DeadLetter]) -> About:
    """What consent is decided by; who an event is of is read from itself, as the log may have forgotten it."""
    envelopes = [envelope(letter.event) for letter in letters]
    times_ms = [
        min(read_moment_ms(one.get("timestamp")) or letter.first_attempt_at_ms, letter.first_attempt_at_ms)
        for one, letter in zip(envelopes, letters, strict=True)
    ]
    users = [text_id(one.get("userId")) for one in envelopes]
    visitors = [text_id(one.get("anonymousId")) for one in envelopes]
    return About(users, visitors, times_ms, bytes(range(len(letters))), tuple(letter.combo for letter in letters))

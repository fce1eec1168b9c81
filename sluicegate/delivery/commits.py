"""What has been settled and is still to be written to the destination's store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from sluicegate import failpoints
from sluicegate.consent.moment import read_moment_ms
from sluicegate.delivery import trace
from sluicegate.delivery.decided import decisions_of
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.plugin import MAX_RESPONSE_CHARS, Mask
from sluicegate.delivery.reader import Decide, Reader
from sluicegate.delivery.settlement import Dead, Progress
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.walltime import wall_ms
from sluicegate.event import MAX_COMBOS, About, Combo
from sluicegate.eventlog.runs import Events, PlainIds, Run
from sluicegate.routing import Decision

REPLAYS_AT_A_TIME = 500
UNKNOWN_COMBO = Combo("", "")
"""For a dead event that the log has already forgotten: without a stamp consent is undecided, so it is not replayed."""


class Commits:
    """Gathers progress from the lanes and commits it; what could not be committed stays gathered."""

    def __init__(self, store: DestinationStore, lanes: Lanes, reader: Reader, *, epoch: int, mask: Mask) -> None:
        self._mask = mask
        self._store = store
        self._lanes = lanes
        self._reader = reader
        self._epoch = epoch
        self._gathered = Progress(lanes.settlement.cursor)
        self._replayed: list[int] = []
        self._buried_again: list[Dead] = []
        self._denied_again: dict[int, str] = {}
        self._replay_versions: dict[int, int] = {}
        self._retries: list[PendingRetry] | None = None
        self._store_version: int | None = None
        self.more_replays = False
        """Whether letters waited for replay beyond those that were taken, and these have been settled."""
        self.cursor = lanes.settlement.cursor
        self.delivered = 0

    @property
    def pending(self) -> bool:
        """Whether there is something to commit."""
        return bool(len(self._gathered) or self._settled_replays or self._retries is not None)

    @property
    def _settled_replays(self) -> int:
        return len(self._replayed) + len(self._buried_again) + len(self._denied_again)

    def gather(self, now: float, *, last: bool = False) -> bool:
        """Take what the lanes have settled; say whether there is something to commit. `last`: before the end."""
        progress = self._lanes.progress()
        if len(progress):
            self._gathered.add(progress)
        replayed, buried_again = self._lanes.replays()
        self._replayed += replayed
        self._buried_again += buried_again
        self._denied_again |= self._lanes.denied_replays()
        self._replay_versions |= self._lanes.replay_versions()
        retries = self._lanes.retries(now, anyway=last)
        if retries is not None:
            self._retries = [replace(retry, first_error=self._mask(retry.first_error)) for retry in retries]
        return self.pending

    def commit(self) -> None:
        """Write it; raises `StaleEpoch` and `LogError`, and then nothing is forgotten."""
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.BEFORE_CURSOR_COMMIT)
        gathered = self._gathered
        if len(gathered) or self._retries is not None:
            letters = self._letters(gathered.dead)
            self._store.commit(
                self._epoch,
                cursor=gathered.cursor,
                delivered=gathered.delivered,
                expired=gathered.expired,
                damaged=gathered.damaged,
                denied=gathered.denied,
                dead_letters=letters,
                retries=self._retries,
                decisions=decisions_of(gathered, self._lanes.settlement.reasons),
            )
            trace.dead(letters)
            self._retries = None
            self._gathered = Progress(gathered.cursor)
            self.cursor = gathered.cursor
            self.delivered += gathered.delivered
        if self._settled_replays:
            self._settle()
            self.delivered += len(self._replayed)
            self._replayed, self._buried_again, self._denied_again = [], [], {}
            self._replay_versions = {}
            self.more_replays = self._store_version is None

    def take_replays(self, permits: Decide) -> None:
        """Give the lanes the dead letters that wait for replay, if the store was changed by others since the last time.

        Consent is decided again, now and before each call; letters that may no longer go out are counted as denied.
        """
        unsettled = self._lanes.replaying or self._settled_replays
        if unsettled or (version := self._store.data_version()) == self._store_version:
            return
        letters = self._store.letters.replays(limit=REPLAYS_AT_A_TIME)
        self._store_version = version if len(letters) < REPLAYS_AT_A_TIME else None
        self.more_replays = False
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

    def _settle(self) -> None:
        self._store.settle_replay(
            self._epoch,
            delivered=self._replayed,
            failed={dead.offset: self._mask(dead.reason) for dead in self._buried_again},
            denied=self._denied_again,
            now_ms=wall_ms(time.monotonic()),
            versions=self._replay_versions,
        )

    def _letters(self, dead: Sequence[Dead]) -> list[DeadLetter]:
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
                epoch=self._epoch,
            )
            for one in dead
        ]


def _events(letters: Sequence[DeadLetter]) -> Events:
    return Events([_run(letters[at : at + MAX_COMBOS]) for at in range(0, len(letters), MAX_COMBOS)])


def _run(letters: Sequence[DeadLetter]) -> Run:
    # The letters' ids stand where the lanes have offsets: that is what `settle_replay` wants back.
    message_ids = [letter.message_id for letter in letters]
    ids = PlainIds(message_ids, message_ids, _about(letters))
    return Run.of([letter.id for letter in letters], ids, [letter.event for letter in letters])


def _about(letters: Sequence[DeadLetter]) -> About:
    """What consent is decided by; who an event is of is read from itself, as the log may have forgotten it."""
    envelopes = [_envelope(letter.event) for letter in letters]
    times_ms = [
        min(read_moment_ms(envelope.get("timestamp")) or letter.first_attempt_at_ms, letter.first_attempt_at_ms)
        for envelope, letter in zip(envelopes, letters, strict=True)
    ]
    users = [_id(envelope.get("userId")) for envelope in envelopes]
    visitors = [_id(envelope.get("anonymousId")) for envelope in envelopes]
    return About(users, visitors, times_ms, bytes(range(len(letters))), tuple(letter.combo for letter in letters))


def _envelope(event: bytes) -> dict[str, object]:
    found = msgspec.json.decode(event)
    return found if isinstance(found, dict) else {}


def _id(value: object) -> str | None:
    """An id as the log has it."""
    return str(value) if type(value) in (str, int) and value != "" else None

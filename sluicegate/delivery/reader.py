"""From rows of the log to events in lanes: what is permitted goes on, the rest is settled where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple

from sluicegate.consent.reading import MAX_LOOKS
from sluicegate.delivery.gate import HELD as HOLD
from sluicegate.delivery.gate import REDACT, Gate
from sluicegate.delivery.held_log import Numbers
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.settlement import DELIVERED, HELD, UNFINISHED, HeldRow
from sluicegate.errors import RowDamaged
from sluicegate.event import Combo
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.runs import Events, Run
from sluicegate.routing import Decision

Decide = Callable[[Combo], str | None]
"""A combination to None when the destination may have it, else the reason why not."""

MIN_READ_EVENTS = 1_000
MIN_READ_BYTES = 1024 * 1024
MAX_TABLES = 1_000
_IS_UNFINISHED = bytes(state == UNFINISHED for state in range(256))


class _Completed(NamedTuple):
    """The states of a row's events, those to hold, and the places of those that go redacted."""

    states: bytes
    held: Sequence[HeldRow] = ()
    to_redact: Sequence[int] = ()


class Reader:
    """Reads what follows the last known offset; decides once per combination, and fetches no event bytes in vain.

    Of events whose stamp leaves open what the destination requires, the lanes' gate decides each. `may_go_on` is asked
    between reading and deciding, after the gate has taken note of the ledger, and again when that has moved on; when it
    says no, nothing more is taken.
    """

    def __init__(
        self, log: EventLog, decide: Decide, lanes: Lanes, *, may_go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self._may_go_on = may_go_on
        self._log = log
        self._decide = decide
        self._lanes = lanes
        self._numbers: Numbers | None = None
        self._tables: dict[tuple[Combo, ...], bytes] = {}

    def fill(self) -> int:
        """Read on as far as the lanes have room; return by how many offsets, 0 at the head of the log."""
        lanes = self._lanes
        before = lanes.settlement.last
        rows = self._log.read(
            before,
            max_events=max(MIN_READ_EVENTS, lanes.read_ahead.room_events),
            max_bytes=max(MIN_READ_BYTES, lanes.read_ahead.room_bytes),
        )
        if not rows:
            lanes.expire(self._log.tail() - 1 - before)  # the log was trimmed to its end: no row shows the gap
            return lanes.settlement.last - before
        if lanes.gate is not None:
            lanes.gate.refresh()
        if not self._may_go_on():
            return 0
        for row in rows:
            try:
                if not self._take(row):
                    break
            except RowGone:
                break  # it shows as a gap at the next look
            except RowDamaged:
                self._lose(row)
        return lanes.settlement.last - before

    def combo(self, offset: int) -> Combo | None:
        """The combination of one event, None when the log no longer has it."""
        for row in self._log.read(offset - 1, max_events=1, max_bytes=1):
            if row.damage is None and row.first <= offset <= row.last:
                return row.meta.combos[row.meta.combo_of[offset - row.first]]
        return None

    def _lose(self, row: Row) -> None:
        """Go on without a row that the log cannot give any more; it is in the log's quarantine ledger."""
        lanes = self._lanes
        lanes.expire(row.first - lanes.settlement.last - 1)
        lanes.lose(row.last - lanes.settlement.last)

    def _take(self, row: Row) -> bool:
        """Settle or pass on a row; False when held events have to go before it."""
        if row.damage is not None:
            self._lose(row)
            return True
        lanes, meta = self._lanes, row.meta
        states = meta.combo_of.translate(self._table(meta.combos))
        known = max(0, lanes.settlement.last + 1 - row.first)
        states = self._without_settled(states[known:], row.first + known)
        held: Sequence[HeldRow] = ()
        to_redact: Sequence[int] = ()
        if lanes.gate is not None:
            completed = self._in_order(lanes.gate, row, states)
            if completed is None:
                return False
            states, held, to_redact = completed
        n_permitted = states.count(UNFINISHED)
        events = Events()
        if n_permitted:
            run = Run.of_row(row, self._log.payload(row)).slice(known, row.count)
            whole = n_permitted == len(states)
            events = Events([run if whole else run.select(states.translate(_IS_UNFINISHED)).compact()])
        if to_redact:
            marks = bytearray(len(states))
            for place in to_redact:
                marks[place] = 1
            events = events.marked(bytes(compress(marks, states.translate(_IS_UNFINISHED))))
        lanes.expire(row.first - lanes.settlement.last - 1)
        lanes.settlement.hold(held)
        lanes.add(states, events)
        return True

    def _without_settled(self, states: bytes, first: Offset) -> bytes:
        """The states without those that are settled already: nothing is to be decided or fetched of these."""
        marks = self._lanes.settlement.marks(first, len(states))
        if not any(marks):
            return states
        return bytes([DELIVERED if mark else state for mark, state in zip(marks, states, strict=True)])

    def _in_order(self, gate: Gate, row: Row, states: bytes) -> _Completed | None:
        """The states with what the ledger says; where it moved on meanwhile, held events are let go of before.

        None when there are more of those than go at once.
        """
        completed = None
        for _ in range(MAX_LOOKS):
            version = gate.ledger.version
            completed = self._completed(gate, row, states)
            if gate.ledger.version == version:
                break
            if not self._may_go_on():
                return None
        return completed

    def _completed(self, gate: Gate, row: Row, states: bytes) -> _Completed:
        """The states with what the ledger says of the events that say nothing themselves."""
        code = self._lanes.settlement.code
        undecided = code(Decision.CONSENT_UNDECIDED)
        if undecided not in states or not (gate.completes or gate.holds):
            return _Completed(states)
        first = row.count - len(states)
        places = [place for place, state in enumerate(states) if state == undecided]
        about = row.meta.about.pick([first + place for place in places])
        at = row.first + first
        offsets = [at + place for place in places] if gate.ledger.has_regulated else ()
        reasons = gate.reasons(about, arrived_ms=row.received_at_ms, offsets=offsets)
        completed = bytearray(states)
        known: dict[str | None, int] = {None: UNFINISHED, HOLD: HELD, REDACT: UNFINISHED}
        for place, reason in zip(places, reasons, strict=True):
            state = known.get(reason)
            if state is None:
                state = known[reason] = code(str(reason))
            completed[place] = state
        to_redact = [place for place, reason in zip(places, reasons, strict=True) if reason == REDACT]
        if HOLD not in reasons:
            return _Completed(bytes(completed), (), to_redact)
        waiting = [i for i, reason in enumerate(reasons) if reason == HOLD]
        if self._numbers is None:
            self._numbers = Numbers(gate.ledger)
        to_hold = [at + places[i] for i in waiting]
        rows = self._numbers.rows(about.pick(waiting), to_hold, arrived_ms=row.received_at_ms)
        return _Completed(bytes(completed), rows, to_redact)

    def _table(self, combos: tuple[Combo, ...]) -> bytes:
        """Maps a combination's index to the state in which its events begin."""
        table = self._tables.get(combos)
        if table is None:
            if len(self._tables) >= MAX_TABLES:
                self._tables.clear()
            reasons = [self._decide(combo) for combo in combos]
            code = self._lanes.settlement.code
            table = bytes(UNFINISHED if reason is None else code(reason) for reason in reasons).ljust(256, b"\x00")
            self._tables[combos] = table
        return table


def offsets_of_call(log: EventLog, decide: Decide, *, n_events: int, first: Offset, last: Offset) -> list[Offset]:
    """The offsets of a call that went from `first` to `last`: of events that the destination may have.

    When these are fewer than `n_events`, consent was completed by the ledger, and all that it may have completed count.
    """
    permitted: list[Offset] = []
    possible: list[Offset] = []
    after = first - 1
    while after < last and (rows := log.read(after, max_events=MIN_READ_EVENTS, max_bytes=MIN_READ_BYTES)):
        for row in rows:
            if row.damage is None:
                reasons = [decide(combo) for combo in row.meta.combos]
                known = [(offset, reasons[combo]) for offset, combo in enumerate(row.meta.combo_of, row.first)]
                inside = [one for one in known if first <= one[0] <= last]
                permitted += [offset for offset, reason in inside if reason is None]
                possible += [offset for offset, reason in inside if reason in (None, Decision.CONSENT_UNDECIDED)]
        after = rows[-1].last
    return permitted if len(permitted) >= n_events else possible

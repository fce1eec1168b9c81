"""The invariants, checked against what is really there after a scenario has healed, settled and stopped."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sluicegate.messages.status import DestinationStatus
from sluicegate.paths import DataDir
from tests.faults import evidence
from tests.faults.events import UNDECIDED, Rule, event_of, fingerprint, is_bad, source_of, subject_of
from tests.faults.evidence import Issued, Taken
from tests.faults.programs import read_journal

OVERRULED = (None, UNDECIDED)
"""Verdicts by the stamp that a withdrawal changes."""
GIVEN_UP = ("hold_expired", "hold_limit")
"""Reasons under which an event is denied that was held in vain, or could not be held."""
ADDITIONS = {"receivedAt", "timestamp"}
"""What the gateway may put in front of an event that has its type and id (docs/http-api.md)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a destination's deliveries are found: in the journal of a receiver, or in a file; and who may go there."""

    rule: Rule
    journal: Path | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """That what nobody decided was held, for how long, and which purposes subjects have granted when (Unix time)."""

    for_s: float
    granted: Mapping[str, Mapping[str, float]]
    margin_s: float = 1.0

    def granted_at(self, rule: Rule, id_: str) -> float | None:
        """When all was granted that an undecided event lacks; None when it was not."""
        own, lacking = self.granted.get(subject_of(id_), {}), rule.undecided(id_)
        return max(own[purpose] for purpose in lacking) if lacking and lacking <= own.keys() else None

    def is_owed(self, rule: Rule, id_: str, acked: float) -> bool:
        """Whether it was still held, or came later, when it was granted."""
        at = self.granted_at(rule, id_)
        return at is not None and acked > at - self.for_s + self.margin_s


class Checker:
    """Checks a system that has ended; `problems` are texts that begin with the invariant."""

    def __init__(
        self,
        data_dir: DataDir,
        oracle_journal: Path,
        places: Mapping[str, Place],
        *,
        withdrawn: Mapping[str, frozenset[str]] = {},
        held: Held | None = None,
        particular: Collection[str] = (),
    ) -> None:
        self.problems: list[str] = []
        self._withdrawn = withdrawn
        self._held = held
        self._particular = particular
        self.places = places
        self.data_dir = data_dir
        self.issued = Issued.read(read_journal(oracle_journal))
        self.taken = {name: self._read(name, place) for name, place in places.items()}
        self.stores = {name: evidence.read_store(data_dir, name) for name in places}

    def _read(self, name: str, place: Place) -> list[Taken]:
        if place.file is not None:
            return list(evidence.read_lines(place.file))
        assert place.journal is not None
        return list(evidence.taken_by(read_journal(place.journal), name))

    @cached_property
    def log(self) -> list[str]:
        """The ids in the event log."""
        return evidence.log_ids(self.data_dir)

    @cached_property
    def first(self) -> dict[str, dict[str, int]]:
        """For each destination the place in its order at which an id first came."""
        return {name: {one.id: n for n, one in reversed(list(enumerate(taken)))} for name, taken in self.taken.items()}

    def check(self, final: Mapping[str, DestinationStatus]) -> None:
        """Everything that can be told from the files; `final` is the status just before the end."""
        self._check_log()
        for name in self.places:
            self._check_conservation(name)
            if name in self._particular:
                self._check_letters(name)
            self._check_integrity(name)
            self._check_consent(name)
            self._check_order(name)
            self._check_accounts(name, final.get(name))

    # -- I1 ---------------------------------------------------------------------------------------------------------

    def _check_log(self) -> None:
        stored = set(self.log)
        missing, foreign = self.issued.acked.keys() - stored, stored - self.issued.sent.keys()
        self._expect("I1", not missing, f"acknowledged and not in the log: {_some(missing)}")
        self._expect("I2", not foreign, f"in the log and never sent: {_some(foreign)}")
        self._expect("I2", not self.issued.refused, f"events of ours were refused: {_some(self.issued.refused)}")
        damage = evidence.integrity_problems(self.data_dir)
        self._expect("I2", not damage, f"damaged databases: {damage}")

    def lost(self, name: str) -> set[str]:
        """The acknowledged events that may go to a destination, and neither came nor are dead letters."""
        rule, store = self.places[name].rule, self.stores[name]
        settled = self.first[name].keys() | set(store.letters if store else ())
        before = set(self.log[: store.start] if store else ())  # it was configured
        open_ids = self.issued.acked.keys() - settled - before
        owed = {id_ for id_ in open_ids if rule.verdict(id_) is None or self._is_owed(rule, id_)}
        return {id_ for id_ in owed if not self._is_withdrawn(name, id_)}

    def _is_owed(self, rule: Rule, id_: str) -> bool:
        return self._held is not None and self._held.is_owed(rule, id_, self.issued.acked[id_])

    def _may_come(self, rule: Rule, id_: str) -> bool:
        granted = self._held is not None and self._held.granted_at(rule, id_) is not None
        return granted or rule.verdict(id_) is None

    def _is_withdrawn(self, name: str, id_: str) -> bool:
        """Whether its subject took back, at some time, what a destination requires: it may have come before that."""
        requires = self.places[name].rule.all
        return not self._withdrawn.get(subject_of(id_), frozenset()).isdisjoint(requires)

    def _check_conservation(self, name: str) -> None:
        lost = self.lost(name)
        self._expect("I1", not lost, f"{len(lost)} acknowledged events are lost to {name}: {_some(lost)}")

    def _check_letters(self, name: str) -> None:
        """Of a receiver that refuses some events: those and no others are dead letters, and none of them came."""
        store, rule = self.stores[name], self.places[name].rule
        letters = set(store.letters if store else ())
        due = {id_ for id_ in self.log if is_bad(id_) and rule.verdict(id_) is None}
        lacking, good = due - letters, {id_ for id_ in letters if not is_bad(id_)}
        self._expect("I1", not lacking, f"refused by {name}, and no dead letters: {_some(lacking)}")
        self._expect("I1", not good, f"dead letters that {name} has not refused: {_some(good)}")
        came = {id_ for id_ in self.first[name] if is_bad(id_)}
        self._expect("I2", not came, f"{name} has taken what it refuses: {_some(came)}")

    # -- I2, I3, I4 -------------------------------------------------------------------------------------------------

    def _check_integrity(self, name: str) -> None:
        foreign = self.first[name].keys() - self.issued.sent.keys()
        self._expect("I2", not foreign, f"{name} got what nobody sent: {_some(foreign)}")
        wrong = {one.id for one in self.taken[name] if one.fingerprint != fingerprint(event_of(one.id))}
        self._expect("I2", not wrong, f"{name} got other bytes than were sent: {_some(wrong)}")
        odd = {one.id for one in self.taken[name] if not json.loads(one.additions).keys() <= ADDITIONS}
        self._expect("I2", not odd, f"{name} got undocumented additions: {_some(odd)}")

    def _check_consent(self, name: str) -> None:
        place = self.places[name]
        tried = set(self.first[name])
        if place.journal is not None:
            tried |= evidence.attempted_at(read_journal(place.journal), name)
        wrong = {id_ for id_ in tried if not self._may_come(place.rule, id_)}
        self._expect("I3", not wrong, f"{name} was sent what it may not have: {_some(wrong)}")

    def _check_order(self, name: str) -> None:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for id_ in self.first[name]:
            if id_ in self.issued.acked and not is_burst(id_):
                groups[source_of(id_), subject_of(id_)].append(id_)
        for key, ids in groups.items():
            came = sorted(ids, key=self.first[name].__getitem__)
            due = sorted(ids, key=issue_order)
            late = [id_ for id_, other in zip(came, due, strict=True) if id_ != other]
            self._expect("I4", came == due, f"{name} got events of {key} out of order, first {_some(late[:1])}")

    # -- I8 ---------------------------------------------------------------------------------------------------------

    def _check_accounts(self, name: str, final: DestinationStatus | None) -> None:
        store = self.stores[name]
        if store is None:
            owed = [id_ for id_ in self.log if self.places[name].rule.verdict(id_) is None]
            self._expect("I8", not owed, f"{name} has no store and is owed {_some(owed)}")
            return
        settled = self.log[store.start : store.cursor]
        verdict = self.places[name].rule.verdict
        maybe = [id_ for id_ in settled if verdict(id_) in OVERRULED and self._is_withdrawn(name, id_)]
        n_permitted, denied = evidence.count(map(verdict, settled))
        self._expect("I8", store.cursor == len(self.log), f"{name}: {len(self.log) - store.cursor} events are pending")
        said = store.delivered + store.dead + store.expired
        if self._held is not None:
            return self._check_held_accounts(name, store, settled)
        if maybe:
            return self._check_withdrawn_accounts(name, store, len(settled), evidence.count(map(verdict, maybe)))
        self._expect("I8", dict(store.denied) == denied, f"{name}: denied {store.denied}, and should be {denied}")
        self._expect("I8", said == n_permitted, f"{name}: {store} counts {said} permitted events of {n_permitted}")
        if final is not None:
            told = (final.delivered, final.dead, final.expired, dict(final.denied_by or {}), final.pending)
            real = (store.delivered, store.dead, store.expired, dict(store.denied), 0)
            self._expect("I8", told == real, f"{name}: the last status said {told}, the store says {real}")

    def _check_withdrawn_accounts(
        self, name: str, store: evidence.Store, n_settled: int, maybe: tuple[int, dict[str, int]]
    ) -> None:
        """Where some may have come before the withdrawal or not, the counts still add up, and lie within bounds."""
        n_maybe, maybe_denied = maybe
        verdicts = map(self.places[name].rule.verdict, self.log[store.start : store.cursor])
        n_permitted, denied = evidence.count(verdicts)
        said = store.delivered + store.dead + store.expired
        self._expect("I8", said + sum(store.denied.values()) == n_settled, f"{name}: {store} is not {n_settled} in all")
        fits = n_permitted - n_maybe <= said <= n_permitted
        self._expect(
            "I8", fits, f"{name}: {store} counts {said} permitted events of {n_permitted}, {n_maybe} withdrawn"
        )
        for reason, n in denied.items():
            least = n - maybe_denied.get(reason, 0)
            self._expect(
                "I8", store.denied.get(reason, 0) >= least, f"{name}: {store}, and at least {least} are {reason}"
            )

    def _check_held_accounts(self, name: str, store: evidence.Store, settled: Sequence[str]) -> None:
        """What was held has come if it was granted, and else is denied under a reason of its own."""
        rule = self.places[name].rule
        _, denied = evidence.count(map(rule.verdict, settled))
        n_undecided = denied.pop(UNDECIDED, 0)
        n_granted = sum(rule.verdict(id_) == UNDECIDED and self._may_come(rule, id_) for id_ in settled)
        given_up = sum(store.denied.get(reason, 0) for reason in GIVEN_UP)
        others = {reason: n for reason, n in store.denied.items() if reason not in GIVEN_UP and n}
        said = store.delivered + store.dead + store.expired
        adds_up = said + sum(store.denied.values()) == len(settled)
        self._expect("I8", adds_up, f"{name}: {store} is not {len(settled)} in all")
        self._expect("I8", others == denied, f"{name}: denied {store.denied}, and should be {denied}")
        fits = n_undecided - n_granted <= given_up <= n_undecided
        self._expect("I8", fits, f"{name}: {store}, {n_undecided} were undecided and {n_granted} of them granted")

    # -- figures ----------------------------------------------------------------------------------------------------

    def duplicates(self, name: str) -> int:
        """Deliveries beyond the first of each event."""
        return len(self.taken[name]) - len(self.first[name])

    def stored_again(self) -> int:
        """Rows of the log beyond the first of each event: requests that were sent again."""
        return len(self.log) - len(set(self.log))

    def delays_s(self, name: str, *, between: tuple[float, float] = (-math.inf, math.inf)) -> list[float]:
        """From the acknowledgement to the first delivery of each event that was acknowledged then, sorted."""
        at = {one.id: one.at for one in reversed(self.taken[name])}
        return sorted(at[id_] - acked for id_, acked in self._acked(between) if at.get(id_))

    def acknowledged_after_s(self, moment: float) -> float | None:
        """How long after a moment (Unix time) an event was acknowledged again; None when none was."""
        return min((at - moment for at in self.issued.acked.values() if at > moment), default=None)

    def taken_at(self, name: str) -> list[float]:
        """When a receiver took events, again and again ones too; nothing for a file."""
        return sorted(one.at for one in self.taken[name] if one.at)

    def taken_once_at(self, name: str) -> list[float]:
        """When it took those that came once."""
        n_times = Counter(one.id for one in self.taken[name])
        return sorted(one.at for one in self.taken[name] if one.at and n_times[one.id] == 1)

    def answers_s(self, *, between: tuple[float, float]) -> list[float]:
        """From the first sending to the acknowledgement of each event that was acknowledged then, sorted."""
        return sorted(acked - self.issued.sent[id_] for id_, acked in self._acked(between))

    def _acked(self, between: tuple[float, float]) -> Iterator[tuple[str, float]]:
        return ((id_, at) for id_, at in self.issued.acked.items() if between[0] <= at <= between[1])

    def _expect(self, invariant: str, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(f"{invariant}: {problem}")


def is_burst(id_: str) -> bool:
    """Whether it was sent beside many others, so that it has no order."""
    return id_.split(".")[1].startswith("b")


def issue_order(id_: str) -> tuple[int, ...]:
    """What events of one connection are sorted by."""
    return tuple(int(part) for part in id_.split(".")[1:])


def _some(ids: Sequence[str] | set[str]) -> str:
    listed = sorted(ids)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")

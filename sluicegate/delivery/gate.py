"""Whether events may go to a destination now: their stamps, and what the ledger says at this moment.

An event that nobody has decided on can be held, from its arrival on and for a while. It may go when a decision of that
time grants what it needs, unless somebody has refused it since it arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple

from sluicegate.config.model import ConsentConfig, ConsentModel, OnUndecided, Requirement
from sluicegate.consent.decision import Action, Judge, Reason, Verdict
from sluicegate.consent.policy import Policies, Policy
from sluicegate.consent.reading import LedgerReader, of_one_version
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import NO_STANDINGS, Rules, Standing, Standings, SubjectConsent
from sluicegate.consent.subject import Ids, Subject
from sluicegate.delivery.barred import with_barred, with_barred_aliases
from sluicegate.delivery.lane import Part
from sluicegate.event import CONSENT_TYPE, About, Combo
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.runs import Events, PlainIds, Run
from sluicegate.paths import DataDir
from sluicegate.redaction import REDACTABLE, Redactor
from sluicegate.routing import Decision

MAX_COMBOS = 1_000
"""Lists of combinations that are remembered."""
MAX_PURPOSES = 65_536
"""Purposes in the stamps of these, whose names clients choose: 16 MB at most."""
MAX_DENIALS = 20_000
"""Subjects whose newest denial is remembered until the ledger changes."""

_PIECE = 64
"""Events that are looked up together."""
HELD = "held"
"""Stands in the place of a reason for an event that is to be held."""
REDACT = "redact"
"""Stands in the place of a reason for an event that may only go without the person in it."""
NEVER_ARRIVED_MS = -(1 << 62)
"""Of an event that is in no log: it cannot be held, and nobody can have refused it before."""
_WORDS = {Reason.DENIED: str(Decision.CONSENT_DENIED), Reason.UNDECIDED: str(Decision.CONSENT_UNDECIDED)}
_denied = attrgetter("denied")


class _Case(NamedTuple):
    """Who an event is of, its time, when it arrived, what time it is, and whether it was permitted before."""

    subject: tuple[str | None, str | None]
    time_ms: int
    arrived_ms: int
    now_ms: int
    was_sent: bool


def _final(reason: str) -> str:
    """What was on its way goes back to no waiting."""
    return str(Decision.CONSENT_UNDECIDED) if reason in (HELD, Reason.HOLD_EXPIRED) else reason


_STAYS_REDACTED = (None, HELD, REDACT, str(Decision.CONSENT_UNDECIDED), Reason.HOLD_EXPIRED.value)
"""What is decided of an event that was refused when it was collected, and changes nothing about how it goes."""


def open_ledger_reader(data_dir: DataDir, consent: ConsentConfig) -> LedgerReader:
    """The ledger of a data directory, for one thread that decides."""
    return LedgerReader(data_dir.consent, data_dir.consent_key, Rules.of(consent))


def _redacted(run: Run, redactor: Redactor) -> Run:
    message_ids = list(map(redactor.message_id, run.message_ids))
    raws = [redactor.raw(raw, id_) for raw, id_ in zip(run.raws, message_ids, strict=True)]
    return Run.of(list(run.offsets), PlainIds(message_ids, message_ids), raws)


class Gate:
    """The decisions of one destination; belongs to one thread.

    A stamp that grants is overruled by a denial in the ledger, one that leaves a purpose open is completed by a grant
    that is not newer than the event. All methods raise `ConsentUnreadable` when the ledger cannot be read.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        requires: Requirement,
        consent: ConsentConfig,
        *,
        redacts_for: str | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`redacts_for` is the id of the destination where refused events go redacted, None where they do not go."""
        self.ledger = ledger
        self._redacts_for = redacts_for
        self._redactor: Redactor | None = None
        self._policies = Policies(consent)
        self._allows_unasked = consent.allow_unasked
        self._judge = Judge(requires)
        self._required = frozenset(requires.purposes)
        self._clock_ms = clock_ms
        self.holds = consent.on_undecided is OnUndecided.HOLD
        """Whether undecided events are held."""
        self._hold_ms = int(consent.hold_ttl_s * 1_000)
        self.under = blake2b(repr((requires, consent)).encode(), digest_size=8).hexdigest()
        """Stands for what is required: events that are held under something else have to be looked at again."""
        self._may_be_silent = self._policies.any_opt_out or self._allows_unasked
        self.n_unenforced = 0
        """Delivered events that say nothing about consent, and of which nobody else did."""
        self._denials: dict[tuple[Ids, bool], tuple[int, dict[str, int]]] = {}
        self._denials_of = -1
        self._open: dict[tuple[Combo, ...], bytes] = {}
        self._n_open = 0

    def refresh(self) -> None:
        """Take note of what was decided since the last time."""
        self.ledger.refresh()
        if self.redacts and self._redactor is None:
            self._redactor = Redactor(self.ledger.keys.redaction, str(self._redacts_for))

    @property
    def redacts(self) -> bool:
        """Whether refused events go redacted."""
        return self._redacts_for is not None

    def outgoing(self, events: Events) -> Events:
        """The events as they go out, which is without the person where they are to be redacted."""
        redactor = self._redactor
        if redactor is None or not any(run.redact for run in events.runs):
            return events
        return Events([_redacted(run, redactor) if run.redact else run for run in events.runs])

    @property
    def completes(self) -> bool:
        """Whether what a stamp leaves open may be decided by something else."""
        return not self.ledger.is_empty or self._may_be_silent or self.redacts

    def expired_before_ms(self) -> int:
        """Events that arrived before this time (Unix ms) are not held any longer."""
        return self._clock_ms() - self._hold_ms

    def reasons(
        self, about: About, *, arrived_ms: int = NEVER_ARRIVED_MS, offsets: Sequence[Offset] = ()
    ) -> Sequence[str | None]:
        """For each event None when it may go, `HELD`, `REDACT`, or why not; by the ledger as of its `version` then.

        With their places in the log it is also told which were erased, and which may not go because of whose they are.
        """
        if not self.completes:
            said = [self._of_stamp(combo) for combo in about.combos]
            return self._of_nobody(about, said, self._undecided(arrived_ms, self._clock_ms()))

        def judge() -> Sequence[str | None]:
            known = self.ledger.of_many(about.whose)
            reasons = self._reasons(about, known, arrived_ms=arrived_ms, was_sent=False)
            return with_barred(reasons, known, offsets) if offsets and self.ledger.has_regulated else reasons

        return of_one_version(self.ledger, judge)

    def barred(
        self, subjects: Sequence[tuple[str | None, str | None]], offsets: Sequence[Offset]
    ) -> Sequence[str | None]:
        """For each event, by (user id, anonymous id) and place in the log, whether it was erased or is suppressed."""
        self.ledger.refresh()
        nothing: list[str | None] = [None] * len(subjects)
        return with_barred(nothing, self.ledger.of_many(subjects), offsets) if self.ledger.has_regulated else nothing

    def completed(
        self,
        about: About,
        reasons: Sequence[str | None],
        skipped: int,
        *,
        first: Offset = 1,
        arrived_ms: int = NEVER_ARRIVED_MS,
    ) -> list[str | None]:
        """The same from `skipped` on, up to the first event that may go out; `reasons` are those of the combinations.

        `first` is the offset of the first event, skipped or not, and `arrived_ms` when they arrived (Unix ms). Where a
        combination is decided by more than consent its reason stands.
        """
        now_ms = self._clock_ms()
        if not self.completes:
            return self._of_nobody(about, reasons, self._undecided(arrived_ms, now_ms))[skipped:]
        return of_one_version(
            self.ledger,
            lambda: self._completed(about, reasons, skipped, first=first, arrived_ms=arrived_ms, now_ms=now_ms),
        )

    def _completed(
        self, about: About, reasons: Sequence[str | None], skipped: int, *, first: Offset, arrived_ms: int, now_ms: int
    ) -> list[str | None]:
        found: list[str | None] = []
        for start in range(skipped, len(about.codes), _PIECE):
            piece = slice(start, start + _PIECE)
            subjects = list(zip(about.user_ids[piece], about.anonymous_ids[piece], strict=True))
            who = self.ledger.of_many(subjects)
            columns = zip(about.codes[piece], subjects, who, about.times_ms[piece], strict=True)
            for code, subject, known, at in columns:
                reason = reasons[code]
                if reason is None or reason == Decision.CONSENT_UNDECIDED:
                    case = _Case(subject, at, arrived_ms, now_ms, False)
                    reason = self._reason(about.combos[code], known, case)
                    if known.is_regulated:
                        reason = known.barred(first + skipped + len(found)) or reason
                reason = None if reason == REDACT else reason
                found.append(reason)
                if reason is None:
                    return found
        return found

    @staticmethod
    def _of_nobody(about: About, reasons: Sequence[str | None], undecided: str) -> list[str | None]:
        """The reasons of events when nobody has decided anything: `undecided` for what their stamps leave open."""
        plain = str(Decision.CONSENT_UNDECIDED)
        of_code = [undecided if reason == plain else reason for reason in reasons]
        if undecided == plain or all(about.anonymous_ids) or all(about.user_ids):
            return [of_code[code] for code in about.codes]
        return [
            plain if of_code[code] == undecided and not (user or visitor) else of_code[code]
            for code, (user, visitor) in zip(about.codes, about.whose, strict=True)
        ]

    def refused(self, part: Part) -> dict[int, str]:
        """The places of events that were permitted and may not go out any more, each with its reason.

        `REDACT` is that of one that may only go redacted from now on.
        The ledger is taken as of its `version` then; a part that was looked at since its last change costs nothing.
        """
        if not self.completes or part.judged == self.ledger.generation:
            return {}
        return of_one_version(self.ledger, lambda: self._refused(part))

    def _refused(self, part: Part) -> dict[int, str]:
        refused: dict[int, str] = {}
        at, settled = 0, True
        for run in part.events.runs:
            reasons, is_open = self._refused_of(run)
            reasons = with_barred_aliases(reasons, run, self.ledger)
            settled = settled and not is_open
            refused.update({at + i: _final(reason) for i, reason in enumerate(reasons) if reason is not None})
            at += run.n_events
        part.judged = self.ledger.generation if settled and not refused else -1
        return refused

    def note_delivered(self, events: Events) -> None:
        """Count those of these events that only went because the configuration lets events go that say nothing."""
        if not self._allows_unasked:
            return
        now_ms = self._clock_ms()
        for run in events.runs:
            about = None if run.redact else run.about
            places = [i for i, code in enumerate(about.codes) if about.combos[code].unasked] if about else []
            if about is None or not places:
                continue
            about = about.pick(places)
            known = self.ledger.of_many(about.whose)
            for code, who, at in zip(about.codes, known, about.times_ms, strict=True):
                self.n_unenforced += not self._would_go(about.combos[code], who, at, now_ms)

    def _would_go(self, combo: Combo, consent: SubjectConsent, time_ms: int, now_ms: int) -> bool:
        """Whether an event would go without that setting."""
        model, honors_gpc = self._policies.of_place(combo.place)
        standings = consent.standings(gpc=honors_gpc, now_ms=now_ms)
        verdict = self._judge.decide(combo.stamp, standings, time_ms=time_ms, model=model)
        return combo.type == CONSENT_TYPE or verdict.action is Action.DELIVER

    def _refused_of(self, run: Run) -> tuple[Sequence[str | None], bool]:
        """The reasons of the events of a run, nothing when all may go; and whether time alone can change that."""
        about = run.about
        assert about is not None
        is_open = bool(about.codes.translate(None, self._settled_codes(about.combos)))
        if not (is_open or run.redact) and self.ledger.are_clear(about.user_ids, about.anonymous_ids):
            return (), False
        known = self.ledger.of_many(about.whose)
        if run.redact:
            found = self._reasons(about, known, arrived_ms=run.block.arrived_ms, was_sent=False)
            reasons = [None if reason in _STAYS_REDACTED else reason for reason in found]
            return with_barred(reasons, known, run.log_offsets), False
        is_barred = self.ledger.has_regulated and any([who.is_regulated for who in known])
        if not (is_open or is_barred) and self._required.isdisjoint(frozenset().union(*set(map(_denied, known)))):
            self.ledger.note_clear(about.whose)
            return (), False
        reasons = self._reasons(about, known, arrived_ms=run.block.arrived_ms, was_sent=True)
        return with_barred(reasons, known, run.log_offsets) if is_barred else reasons, is_open

    def _reasons(
        self, about: About, known: Sequence[SubjectConsent], *, arrived_ms: int, was_sent: bool
    ) -> list[str | None]:
        combos, now_ms, reason = about.combos, self._clock_ms(), self._reason
        columns = zip(about.codes, about.whose, known, about.times_ms, strict=True)
        return [
            reason(combos[code], consent, _Case(subject, at, arrived_ms, now_ms, was_sent))
            for code, subject, consent, at in columns
        ]

    def _reason(self, combo: Combo, consent: SubjectConsent, case: _Case) -> str | None:
        """Why not, or None."""
        if combo.type == CONSENT_TYPE:
            return None  # it tells that something was refused, and goes to whoever asked to be told
        model, honors_gpc = self._policy(combo)
        standings = consent.standings(gpc=honors_gpc, now_ms=case.now_ms)
        verdict = self._judge.decide(
            combo.stamp,
            standings,
            time_ms=case.time_ms,
            model=model,
            was_granted=case.was_sent and model is ConsentModel.OPT_IN,
        )
        if verdict.action is Action.DELIVER:
            return None
        if verdict.reason is not Reason.UNDECIDED:
            may_go = self.redacts and combo.type in REDACTABLE
            if may_go and self._judge.refused_before(combo.stamp, standings, time_ms=case.time_ms):
                return REDACT
            return _WORDS.get(verdict.reason, verdict.reason.value)
        if not self.holds or not any(case.subject):
            return str(Decision.CONSENT_UNDECIDED)
        if standings is not NO_STANDINGS and self._of_held(combo, standings, case).action is Action.DELIVER:
            return self._unless_refused_since(combo, standings, case)
        return self._undecided(case.arrived_ms, case.now_ms)

    def _of_held(self, combo: Combo, standings: Standings, case: _Case) -> Verdict:
        """The verdict when also a grant counts that is newer than the event, and was given while it could be held."""
        model = self._policy(combo).model
        return self._judge.decide(
            combo.stamp,
            standings,
            time_ms=case.time_ms,
            model=model,
            held=True,
            until_ms=case.arrived_ms + self._hold_ms,
            was_granted=case.was_sent and model is ConsentModel.OPT_IN,
        )

    def _unless_refused_since(self, combo: Combo, standings: Standings, case: _Case) -> str | None:
        """What was refused since the event arrived is refused for it, whatever is granted after that."""
        newest = self._newest_denials(case, gpc=self._policy(combo).honors_gpc)
        refused = {purpose: at_ms for purpose, at_ms in newest.items() if at_ms >= case.arrived_ms}
        if not refused:
            return None
        denials = {purpose: Standing(State.DENIED, at_ms) for purpose, at_ms in refused.items()}
        verdict = self._of_held(combo, Standings({**standings.by_purpose, **denials}), case)
        if verdict.action is Action.DELIVER:
            return None
        if verdict.reason is Reason.UNDECIDED:
            return self._undecided(case.arrived_ms, case.now_ms)
        return _WORDS.get(verdict.reason, verdict.reason.value)

    def _newest_denials(self, case: _Case, *, gpc: bool) -> dict[str, int]:
        """The newest denials of a subject, as far as they were told since the event arrived."""
        if self._denials_of != self.ledger.generation or len(self._denials) > MAX_DENIALS:
            self._denials.clear()
            self._denials_of = self.ledger.generation
        since_ms, newest = self._denials.get((case.subject, gpc), (case.arrived_ms, None))
        if newest is None or since_ms > case.arrived_ms:
            since_ms, subject = case.arrived_ms, Subject(*case.subject)
            newest = self.ledger.newest_denials(subject, self._required, gpc=gpc, since_ms=since_ms)
            self._denials[case.subject, gpc] = since_ms, newest
        return newest

    def _undecided(self, arrived_ms: int, now_ms: int) -> str:
        if not self.holds:
            return str(Decision.CONSENT_UNDECIDED)
        return HELD if now_ms <= arrived_ms + self._hold_ms else Reason.HOLD_EXPIRED.value

    def _policy(self, combo: Combo) -> Policy:
        """What silence means for these events, and whether Global Privacy Control counts."""
        policy = self._policies.of_place(combo.place)
        if combo.unasked and self._allows_unasked:
            return policy._replace(model=ConsentModel.OPT_OUT)
        return policy

    def _settled_codes(self, combos: tuple[Combo, ...]) -> bytes:
        """The codes of the combinations whose own stamp grants all that is required."""
        codes = self._open.get(combos)
        if codes is None:
            n_purposes = sum([len(combo.stamp) for combo in combos])
            self._n_open += n_purposes
            if len(self._open) >= MAX_COMBOS or self._n_open > MAX_PURPOSES:
                self._open.clear()
                self._n_open = n_purposes
            codes = self._open[combos] = bytes(i for i, combo in enumerate(combos) if self._grants(combo))
        return codes

    def _grants(self, combo: Combo) -> bool:
        return self._of_stamp(combo) is None

    def _of_stamp(self, combo: Combo) -> str | None:
        """What the stamp alone decides."""
        if combo.type == CONSENT_TYPE:
            return None
        verdict = self._judge.decide(combo.stamp, NO_STANDINGS, time_ms=0)
        return None if verdict.action is Action.DELIVER else _WORDS.get(verdict.reason, verdict.reason.value)

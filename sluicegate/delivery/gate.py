"""Whether events may go to a destination now: their stamps, and what the ledger says at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import attrgetter

from sluicegate.config.model import ConsentConfig, ConsentModel, Requirement
from sluicegate.consent.decision import Action, Judge, Reason
from sluicegate.consent.policy import Policies
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import NO_STANDINGS, Rules, SubjectConsent
from sluicegate.delivery.lane import Part
from sluicegate.event import About, Combo
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.runs import Run
from sluicegate.paths import DataDir
from sluicegate.routing import Decision

MAX_COMBOS = 1_000
"""Lists of combinations that are remembered."""

_PIECE = 64
"""Events that are looked up together."""
_WORDS = {Reason.DENIED: str(Decision.CONSENT_DENIED), Reason.UNDECIDED: str(Decision.CONSENT_UNDECIDED)}
_may_overrule = attrgetter("may_overrule")


def open_ledger_reader(data_dir: DataDir, consent: ConsentConfig) -> LedgerReader:
    """The ledger of a data directory, for one thread that decides."""
    return LedgerReader(data_dir.consent, data_dir.consent_key, Rules.of(consent))


def _with_barred(
    reasons: Sequence[str | None], known: Sequence[SubjectConsent], offsets: Sequence[Offset]
) -> Sequence[str | None]:
    """The reasons, where an event was erased or its subject suppressed with that instead."""
    if not any(who.is_regulated for who in known):
        return reasons
    columns = zip(reasons, known, offsets, strict=True)
    return [who.barred(offset) or reason for reason, who, offset in columns]


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
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.ledger = ledger
        self._policy = Policies(consent).of()
        self._judge = Judge(requires)
        self._clock_ms = clock_ms
        self._may_be_silent = self._policy.model is not ConsentModel.OPT_IN
        self._open: dict[tuple[Combo, ...], bytes] = {}

    def refresh(self) -> None:
        """Take note of what was decided since the last time."""
        self.ledger.refresh()

    @property
    def completes(self) -> bool:
        """Whether what a stamp leaves open may be decided by something else."""
        return self.ledger.version > 0 or self._may_be_silent

    def reasons(self, about: About) -> list[str | None]:
        """For each event None when it may go out, else why not; the ledger is taken as of the last `refresh`."""
        known = self.ledger.of_many(list(zip(about.user_ids, about.anonymous_ids, strict=True)))
        return self._reasons(about, known, was_granted=False)

    def barred(
        self, subjects: Sequence[tuple[str | None, str | None]], offsets: Sequence[Offset]
    ) -> Sequence[str | None]:
        """For each event, by (user id, anonymous id) and place in the log, whether it was erased or is suppressed."""
        self.ledger.refresh()
        nothing: list[str | None] = [None] * len(subjects)
        return _with_barred(nothing, self.ledger.of_many(subjects), offsets) if self.ledger.has_regulated else nothing

    def completed(
        self, about: About, reasons: Sequence[str | None], skipped: int, *, first: Offset
    ) -> list[str | None]:
        """The same from `skipped` on, up to the first event that may go out; `reasons` are those of the combinations.

        `first` is the offset of the first event, skipped or not.

        Where a combination is decided by more than consent its reason stands.
        """
        found: list[str | None] = []
        now_ms = self._clock_ms()
        for start in range(skipped, len(about.codes), _PIECE):
            piece = slice(start, start + _PIECE)
            subjects = zip(about.user_ids[piece], about.anonymous_ids[piece], strict=True)
            who = self.ledger.of_many(list(subjects))
            for code, known, at in zip(about.codes[piece], who, about.times_ms[piece], strict=True):
                reason = reasons[code]
                if reason is None or reason == Decision.CONSENT_UNDECIDED:
                    reason = self._reason(about.combos[code], known, at, now_ms=now_ms, was_granted=False)
                    if known.is_regulated:
                        reason = known.barred(first + skipped + len(found)) or reason
                found.append(reason)
                if reason is None:
                    return found
        return found

    def refused(self, part: Part) -> dict[int, str]:
        """The places of events that were permitted and may not go out any more, each with its reason.

        The ledger is taken as of the last `refresh`; a part that was looked at since its last change costs nothing.
        """
        ledger = self.ledger
        if not ledger.version or part.judged == ledger.generation:
            return {}
        refused: dict[int, str] = {}
        at, settled = 0, True
        for run in part.events.runs:
            reasons, is_open = self._refused_of(run)
            settled = settled and not is_open
            refused.update({at + i: reason for i, reason in enumerate(reasons) if reason is not None})
            at += run.n_events
        part.judged = ledger.generation if settled and not refused else -1
        return refused

    def _refused_of(self, run: Run) -> tuple[Sequence[str | None], bool]:
        """The reasons of the events of a run, nothing when all may go; and whether time alone can change that."""
        about = run.about
        assert about is not None
        known = self.ledger.of_many(list(zip(about.user_ids, about.anonymous_ids, strict=True)))
        is_open = bool(about.codes.translate(None, self._settled_codes(about.combos)))
        if not is_open and not any(map(_may_overrule, known)):
            return (), False
        reasons = self._reasons(about, known, was_granted=not self._may_be_silent)
        return _with_barred(reasons, known, run.log_offsets), is_open

    def _reasons(self, about: About, known: Sequence[SubjectConsent], *, was_granted: bool) -> list[str | None]:
        combos, now_ms, reason = about.combos, self._clock_ms(), self._reason
        columns = zip(about.codes, known, about.times_ms, strict=True)
        return [reason(combos[code], who, at, now_ms=now_ms, was_granted=was_granted) for code, who, at in columns]

    def _reason(
        self, combo: Combo, consent: SubjectConsent, time_ms: int, *, now_ms: int, was_granted: bool
    ) -> str | None:
        verdict = self._judge.decide(
            combo.stamp,
            consent.standings(gpc=self._policy.honors_gpc, now_ms=now_ms),
            time_ms=time_ms,
            model=self._policy.model,
            was_granted=was_granted,
        )
        return None if verdict.action is Action.DELIVER else _WORDS.get(verdict.reason, verdict.reason.value)

    def _settled_codes(self, combos: tuple[Combo, ...]) -> bytes:
        """The codes of the combinations whose own stamp grants all that is required."""
        codes = self._open.get(combos)
        if codes is None:
            if len(self._open) >= MAX_COMBOS:
                self._open.clear()
            codes = self._open[combos] = bytes(i for i, combo in enumerate(combos) if self._grants(combo))
        return codes

    def _grants(self, combo: Combo) -> bool:
        verdict = self._judge.decide(combo.stamp, NO_STANDINGS, time_ms=0)
        return verdict.action is Action.DELIVER

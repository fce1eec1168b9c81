"""A fate in plain words, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sluicegate.audit.reading import Entry
from sluicegate.audit.words import Final, final, reason_of
from sluicegate.config.model import Requirement
from sluicegate.consent.policy import UNLISTED
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.slots import Purposes, Slot, is_denial, time_of
from sluicegate.event import CONSENT_TYPE, ERASED, Combo
from sluicegate.explain.fate import Fate
from sluicegate.explain.find import StoredEvent
from sluicegate.explain.ledger import LedgerStory
from sluicegate.explain.times import time_text

_MEANING = {
    Final.DELIVERED: "delivered: the destination has confirmed it",
    Final.REDACTED: "redacted: delivered without the person in it, because a purpose that is required was refused "
    "before or when the event was collected",
    Final.DENIED: "denied: a purpose that is required was refused before or when the event was collected",
    Final.UNDECIDED: "not delivered: nobody had said yes or no to a purpose that is required",
    Final.WITHDRAWN: "withdrawn: it was granted when the event was collected, and no more when it was to be sent",
    Final.DENIED_AT_COLLECTION: "denied: it was refused when the event was collected; later grants do not reach back",
    Final.HOLD_EXPIRED: "not delivered: nobody decided for as long as events are held",
    Final.SUPPRESSED: "not delivered: the person is suppressed",
    Final.ERASED: "not delivered: the person's data was erased",
    Final.TOO_OLD: "not delivered: it is older than the destination takes",
    Final.NOT_SELECTED: "not selected: this destination does not get such events, or this event names others",
    Final.SKIPPED: "skipped: the destination itself has no use for it",
    Final.FAILED: "failed: it was given up and is a dead letter",
    Final.EXPIRED: "expired: the log let go of it before it was sent",
    Final.DAMAGED: "lost: the log could not give it any more",
    Final.HELD: "held: it waits for a decision",
}
_EARLIER = {
    Final.HELD: "held: nobody had decided yet",
    Final.FAILED: "given up, and a dead letter",
}
"""What it was before; all other decisions are final."""
_BY_NO_LEDGER = (Final.EXPIRED, Final.DAMAGED)
_MODELS = {"opt-in": "silence means no (opt-in)", "opt-out": "silence means yes (opt-out)"}
REMOVED = "no longer configured"
_GONE, _ERASED = "the event is gone from the log", "the event was erased from the log"
_WITH_IT = ", and with it what it said and whose it was"


def why(fate: Fate, event: StoredEvent | None) -> str:
    """The short answer."""
    letter, mark = fate.letter, "" if fate.configured else REMOVED
    if letter is not None and fate.decision is Final.FAILED:
        text = f"{letter.reason} (after {letter.attempts} attempts; dead letter {letter.id})"
        return f"{mark}; {text}" if mark else text
    parts = [mark, fate.note, *_required(fate, event)]
    parts.append(_GONE if event is None else _ERASED if _is_erased(event) else stamp_text(event.combo))
    parts.append(_ledger_text(fate, event))
    text = "; ".join(part for part in parts if part)
    return f"{fate.reason}: {text}" if fate.reason and not fate.note.startswith(fate.reason) else text


def story(fate: Fate, event: StoredEvent | None) -> Iterator[str]:
    """The whole of it, in sentences without a full stop."""
    if not fate.configured:
        yield f"{fate.destination} is {REMOVED}"
    if fate.requires is None and fate.decision is None:
        yield fate.note
        return
    yield from (f"{fate.destination} {text}" for text in _required(fate, event))
    if event is None or _is_erased(event):
        yield (_GONE if event is None else _ERASED) + _WITH_IT
    else:
        yield stamp_text(event.combo)
        if fate.ledger is not None and not _is_notice(event):
            yield from _ledger_story(fate, fate.ledger, event)
    for entry in fate.decided[:-1]:
        yield f"first it was {_EARLIER.get(final(entry.word), entry.word)}{_decided(entry, event)}"
    ending = _MEANING[fate.decision] if fate.decision is not None else f"{fate.outcome}: {fate.note}"
    reason = f" ({fate.reason})" if fate.reason and fate.decision in (Final.SKIPPED, Final.NOT_SELECTED) else ""
    note = f"; {fate.note}" if fate.note and fate.decision is not None else ""
    yield ending + reason + note + (_decided(fate.decided[-1], event) if fate.decided else "")
    if fate.letter is not None:
        letter = fate.letter
        first = f", first {letter.first_error}" if letter.first_error and letter.first_error != letter.reason else ""
        yield f"dead letter {letter.id} ({letter.status}): {letter.reason} after {letter.attempts} attempts{first}"


def _is_erased(event: StoredEvent) -> bool:
    """Whether only its place in the log is left, which says nothing and is nobody's."""
    return event.combo.type == ERASED


def _is_notice(event: StoredEvent) -> bool:
    """Whether it goes to whoever asked for such events, whatever consent says."""
    return event.combo.type == CONSENT_TYPE


def _ledger_text(fate: Fate, event: StoredEvent | None) -> str:
    """How the person stood, on what is required and what the event left open."""
    if event is None or fate.decided_by is None or fate.ledger is None or fate.ledger.known is None:
        return ""
    if _is_notice(event):
        return ""
    said = dict(event.combo.stamp)
    asked = [purpose for purpose in fate.decided_by.purposes if purpose not in said and purpose != NECESSARY]
    states = [f"{purpose}: {fate.ledger.known.of(purpose).state}" for purpose in asked]
    return f"the ledger says {', '.join(states)}" if states else ""


def as_json(fate: Fate, event: StoredEvent | None) -> dict[str, Any]:
    """A fate for programs."""
    letter = fate.letter
    return {
        "destination": fate.destination,
        "configured": fate.configured,
        "outcome": fate.outcome,
        "why": why(fate, event),
        "decision": fate.decision,
        "reason": fate.reason,
        "requires": None if fate.requires is None else asdict(fate.requires),
        "required": None if fate.decided_by is None else asdict(fate.decided_by),
        "decided": [_entry_json(entry, event) for entry in fate.decided],
        "ledger": None if fate.ledger is None else _ledger_json(fate.ledger),
        "deadLetter": None
        if letter is None
        else {"id": letter.id, "status": letter.status, "reason": letter.reason, "attempts": letter.attempts},
        "story": list(story(fate, event)),
    }


def requirement_text(requires: Requirement, *, then: bool = False) -> str:
    """What a destination requires, or required then."""
    purposes = [*requires.all]
    if requires.any:
        purposes.append("one of " + ", ".join(requires.any))
    if purposes == [NECESSARY]:
        return "needed no consent" if then else "needs no consent"
    return f"{'required' if then else 'requires'} {' and '.join(purposes)}"


def _required(fate: Fate, event: StoredEvent | None) -> list[str]:
    """What was required when the event was decided, and what is now where that is something else."""
    then = [] if fate.required is None else [f"{requirement_text(fate.required, then=True)} when this was decided"]
    if fate.requires is None:
        return then
    if event is not None and _is_notice(event):
        return ["needs no consent for it: it tells of a decision"]
    now = requirement_text(fate.requires)
    return [*then, f"{now} now"] if then else [now]


def stamp_text(combo: Combo) -> str:
    """What an event says itself."""
    stamp = ", ".join(f"{purpose}: {'granted' if granted else 'denied'}" for purpose, granted in combo.stamp)
    return f"the event says {stamp or 'nothing'}"


def _ledger_story(fate: Fate, ledger: LedgerStory, event: StoredEvent) -> Iterator[str]:
    place = "" if not ledger.place else " elsewhere" if ledger.place == UNLISTED else f" in {ledger.place}"
    yield _MODELS[ledger.model] + place
    purposes = [purpose for purpose in fate.decided_by.purposes if purpose != NECESSARY] if fate.decided_by else []
    if not purposes:
        return
    if event.subject.is_nobody:
        yield "the event has no id, so the ledger has no say"
        return
    if ledger.known is None:
        yield "nothing was ever written to the ledger"
        return
    states = [f"{purpose}: {_state(ledger, purpose)}" for purpose in purposes]
    partly = "" if ledger.known.is_whole else ", as far as its history is still kept"
    yield f"the ledger at version {ledger.version} knew of this person{partly}: {', '.join(states)}"
    if fate.decision is Final.WITHDRAWN:
        yield f"when the event was accepted the ledger was at version {ledger.accepted_version}"
    if ledger.turned is not None:
        told = ledger.turned
        by = f" from {told.source}" if told.source else ""
        what = "grant" if fate.decision is Final.DELIVERED else "denial"
        yield f"the {what} is version {told.version}, recorded {time_text(told.recorded_at_ms)}{by}"


def _state(ledger: LedgerStory, purpose: str) -> str:
    known = ledger.known
    assert known is not None
    standing = known.of(purpose)
    slots = ", ".join(f"{name} {text}" for name, text in _marks(known.marks, purpose).items())
    return f"{standing.state}" + (f" ({slots})" if slots else "")


def _marks(marks: Purposes, purpose: str) -> dict[str, str]:
    slots = marks.get(purpose)
    if slots is None:
        return {}
    return {
        slot.name.lower(): f"{'denied' if is_denial(mark) else 'granted'} {time_text(time_of(mark))}"
        for slot, mark in zip(Slot, (slots.admin, slots.decided, slots.seen, slots.gpc), strict=True)
        if mark
    }


def _since_ms(entry: Entry, event: StoredEvent | None) -> int:
    """From when on it can have been decided: the row may have begun with older events."""
    return entry.from_ms if event is None else max(entry.from_ms, min(event.received_at_ms, entry.until_ms))


def _decided(entry: Entry, event: StoredEvent | None) -> str:
    moments, since_ms = time_text(entry.until_ms), _since_ms(entry, event)
    if entry.until_ms - since_ms > 1_000:
        moments = f"between {time_text(since_ms)} and {moments}"
    return f", {moments}{_by_version(entry)} (audit row {entry.row})"


def _by_version(entry: Entry) -> str:
    if entry.version:
        return f", by ledger version {entry.version}"
    return "" if final(entry.word) in _BY_NO_LEDGER else ", when the ledger was empty"


def _entry_json(entry: Entry, event: StoredEvent | None) -> dict[str, Any]:
    return {
        "decision": final(entry.word),
        "requires": None if entry.requires is None else asdict(entry.requires),
        "word": entry.word,
        "reason": reason_of(entry.word),
        "ledgerVersion": entry.version,
        "from": time_text(_since_ms(entry, event)),
        "until": time_text(entry.until_ms),
        "row": entry.row,
    }


def _ledger_json(ledger: LedgerStory) -> dict[str, Any]:
    known, turned = ledger.known, ledger.turned
    purposes: Mapping[str, Any] = {}
    if known is not None:
        purposes = {
            purpose: {"state": known.of(purpose).state, "slots": _marks(known.marks, purpose)}
            for purpose in sorted(known.marks)
        }
    return {
        "version": ledger.version,
        "acceptedVersion": ledger.accepted_version,
        "turnedBy": None if turned is None else turned.version,
        "model": ledger.model or None,
        "jurisdiction": ledger.place or None,
        "purposes": purposes,
    }

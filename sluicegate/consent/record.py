"""One subject as the ledger stores it: a few dozen bytes.

    flags 1 | owner 16, since 6 (if flag 1) | n 1, members 16 n (if flag 2) | purposes

A purpose is its number (1 byte, or 2 from 128 on), a byte that tells which of the six values follow, and those: the
four marks and the end of a grant with 6 bytes each, the number of the policy with 2. Numbers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from sluicegate.consent.evidence import Evidence
from sluicegate.consent.slots import Purposes, Slot, Slots
from sluicegate.consent.subject import KEY_BYTES
from sluicegate.errors import LogDamaged

MAX_MEMBERS = 64
"""Ids that a record lists as its own; of more, the oldest are only found through themselves."""

_LINKS = frozenset({Evidence.IDENTIFY, Evidence.ALIAS})
_OWNER, _MEMBERS = 1, 2
_TIME_BYTES = 6
_MARKS = 5
"""Values of six bytes: the four marks and the end of the grant."""
_POLICY_BIT = 1 << _MARKS
_SEEN_BIT = 1 << Slot.SEEN
_PLACES = tuple(tuple(place for place in range(_MARKS) if mask >> place & 1) for mask in range(256))
"""For each byte that tells which values follow, the places of those of six bytes."""
_MAX_SHORT = 128
MAX_NUMBER = 0x7FFF


class Names(Protocol):
    """Numbers for purposes and policies, so that a record need not spell them."""

    def number(self, name: str) -> int:
        """The number of a name, a new one for a new name."""
        ...

    def name(self, number: int) -> str:
        """The name with this number; raises `LogDamaged` for one that was never given."""
        ...


@dataclass(slots=True)
class Record:
    """What is stored under one key: the id that it turned out to belong to, the ids that belong to it, its slots."""

    owner: bytes | None = None
    owner_since_ms: int = 0
    members: list[bytes] = field(default_factory=list)
    purposes: dict[str, Slots] = field(default_factory=dict)


def encode_record(record: Record, names: Names) -> bytes:
    """A record as bytes."""
    parts = [bytes([(_OWNER if record.owner else 0) | (_MEMBERS if record.members else 0)])]
    if record.owner:
        parts += [record.owner, record.owner_since_ms.to_bytes(_TIME_BYTES, "big")]
    if record.members:
        parts += [bytes([len(record.members)]), *record.members]
    parts.append(encode_purposes(record.purposes, names))
    return b"".join(parts)


def decode_record(data: bytes, names: Names) -> Record:
    """The record in these bytes; raises `LogDamaged`."""
    record = Record()
    try:
        flags, at = data[0], 1
        if flags & _OWNER:
            record.owner = data[at : at + KEY_BYTES]
            at += KEY_BYTES
            record.owner_since_ms = int.from_bytes(data[at : at + _TIME_BYTES], "big")
            at += _TIME_BYTES
        if flags & _MEMBERS:
            end = at + 1 + data[at] * KEY_BYTES
            record.members = [data[i : i + KEY_BYTES] for i in range(at + 1, end, KEY_BYTES)]
            at = end
        record.purposes = decode_purposes(data, names, at)
    except (IndexError, TypeError) as error:
        raise LogDamaged(f"a record of the consent ledger cannot be read: {error}") from error
    return record


def decode_change(evidence: int, what: bytes, names: Names) -> tuple[Evidence, bytes, dict[str, Slots]]:
    """Of a row of the history how it became known, the key that it names if it is a link, and what was said.

    Raises `LogDamaged`.
    """
    try:
        kind = Evidence(evidence)
        other = what[:KEY_BYTES] if kind in _LINKS else b""
        return kind, other, decode_purposes(what, names, len(other))
    except (IndexError, TypeError, ValueError) as error:
        raise LogDamaged(f"a row of the consent ledger's history cannot be read: {error}") from error


def earlier(previous: int, version: int) -> int:
    """The version before one of a subject's; raises `LogDamaged` for one that is not, which would lead in a circle."""
    if not 0 <= previous < version:
        raise LogDamaged(f"version {version} of the consent ledger's history follows on version {previous}")
    return previous


def encode_purposes(purposes: Purposes, names: Names) -> bytes:
    """Slots by purpose as bytes."""
    out = bytearray()
    for purpose, slots in purposes.items():
        out += _number_bytes(names.number(purpose))
        if slots == (0, 0, slots.seen, 0, 0, ""):  # most: only seen
            out.append(_SEEN_BIT if slots.seen else 0)
            out += slots.seen.to_bytes(_TIME_BYTES, "big") if slots.seen else b""
            continue
        values, policy = slots[:_MARKS], slots.policy
        place = len(out)
        out.append(_POLICY_BIT if policy else 0)
        for bit, value in enumerate(values):
            if value:
                out[place] |= 1 << bit
                out += value.to_bytes(_TIME_BYTES, "big")  # type: ignore[union-attr]
        if policy:
            out += names.number(policy).to_bytes(2, "big")
    return bytes(out)


def decode_purposes(data: bytes, names: Names, at: int = 0) -> dict[str, Slots]:
    """The slots from this place to the end; raises `LogDamaged`, or `IndexError` where bytes are missing."""
    purposes: dict[str, Slots] = {}
    size = len(data)
    while at < size:
        number = data[at]
        at += 1
        if number >= _MAX_SHORT:
            number = (number - _MAX_SHORT) << 8 | data[at]
            at += 1
        mask = data[at]
        at += 1
        if mask == _SEEN_BIT:  # most: only seen
            seen = int.from_bytes(data[at : at + _TIME_BYTES], "big")
            at += _TIME_BYTES
            purposes[names.name(number)] = Slots(0, 0, seen)
            continue
        values = [0] * _MARKS
        for place in _PLACES[mask]:
            values[place] = int.from_bytes(data[at : at + _TIME_BYTES], "big")
            at += _TIME_BYTES
        policy = ""
        if mask & _POLICY_BIT:
            policy = names.name(int.from_bytes(data[at : at + 2], "big"))
            at += 2
        admin, decided, seen, gpc, until_ms = values
        purposes[names.name(number)] = Slots(admin, decided, seen, gpc, until_ms, policy)
    if at > size:
        raise LogDamaged("a record of the consent ledger is shorter than it says")
    return purposes


def _number_bytes(number: int) -> bytes:
    if number < _MAX_SHORT:
        return bytes([number])
    return bytes([_MAX_SHORT | number >> 8, number & 0xFF])

"""TC strings of IAB Europe's Transparency and Consent Framework, 2.2 and 2.3.

The format is that of github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework, "Consent string
and vendor list formats v2". A string is read as a whole or not at all: every segment must end where its own fields say,
with nothing but zero bits up to the end of its last byte, or of its last group of four characters as the reference
implementation writes them.
"""

from __future__ import annotations

import base64
import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAX_LENGTH = 8_192
"""Characters; those of a thousand vendors with restrictions take about 2,000."""

MIN_POLICY = 4
"""TCF 2.2; of older policies no string is valid any more."""
DISCLOSURE_POLICY = 5
"""TCF 2.3, from which on the vendors that a person was shown must be told."""

VERSION = 2
STORE_AND_ACCESS = 1
"""The purpose without which no other has a meaning."""

CATEGORIES = {
    "marketing": frozenset({2, 3, 4}),
    "experience": frozenset({5, 6}),
    "measurement": frozenset({7, 8, 9}),
    "functionality": frozenset({10, 11}),
}
"""Which purposes of the framework are one of ours; ours is granted only when all of them are."""

_N_PURPOSES = 24
_TEXT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,3}")
_DISCLOSED, _ALLOWED, _PUBLISHER = 1, 2, 3


class BadTcString(ValueError):
    """Not a TC string that can be relied on: nothing is known from it."""


class Vendors(NamedTuple):
    """A set of vendor ids: a bit for each up to `max_id`, the first the highest, or the ends of ascending ranges.

    The ends take two bytes each: strings are remembered, and one of somebody who means harm has thousands.
    """

    max_id: int
    bits: int = 0
    firsts: bytes = b""
    lasts: bytes = b""

    def __contains__(self, vendor_id: object) -> bool:
        if not isinstance(vendor_id, int) or not 0 < vendor_id <= self.max_id:
            return False
        if self.bits >> (self.max_id - vendor_id) & 1:
            return True
        firsts, lasts = array("H", self.firsts), array("H", self.lasts)
        place = bisect_left(lasts, vendor_id)
        return place < len(lasts) and firsts[place] <= vendor_id


@dataclass(frozen=True, slots=True)
class TcString:
    """What is read of a TC string; times are Unix milliseconds, by the standard the start of a day."""

    created_ms: int
    updated_ms: int
    cmp_id: int
    policy_version: int
    purposes: frozenset[int]
    vendors: Vendors
    disclosed: Vendors | None

    @property
    def may_store(self) -> bool:
        """Whether there is consent to the purpose that all others need."""
        return STORE_AND_ACCESS in self.purposes

    @property
    def decided(self) -> dict[str, bool]:
        """What it decides of our purposes."""
        may_store = self.may_store
        return {category: may_store and needed <= self.purposes for category, needed in CATEGORIES.items()}

    def allows(self, vendor_id: int) -> bool:
        """Whether this vendor has consent, and was disclosed where the policy demands that."""
        if vendor_id not in self.vendors:
            return False
        if self.disclosed is None:
            return self.policy_version < DISCLOSURE_POLICY
        return vendor_id in self.disclosed


@lru_cache(maxsize=4_096)
def read_tc_string(text: str) -> TcString:
    """The content of a TC string; raises `BadTcString` for one that is cut off, of an old or global kind, or none."""
    if len(text) > MAX_LENGTH or not _TEXT.fullmatch(text):
        raise BadTcString("not a TC string")
    core, *others = text.split(".")
    found = _read_core(_Bits(core))
    disclosed = None
    seen = set()
    for segment in others:
        bits = _Bits(segment)
        kind = bits.take(3)
        if kind in seen:
            raise BadTcString("it has a segment twice")
        seen.add(kind)
        if kind == _DISCLOSED:
            disclosed = _read_vendors(bits)
        elif kind == _ALLOWED:
            _read_vendors(bits)
        elif kind == _PUBLISHER:
            _read_publisher(bits)
        else:
            raise BadTcString("it has a segment of an unknown kind")
        bits.end()
    return TcString(*found, disclosed=disclosed)


class _Bits:
    """The bits of one segment, taken from the front."""

    def __init__(self, segment: str) -> None:
        self._size = 6 * len(segment)
        data = base64.urlsafe_b64decode(segment + "A" * (-len(segment) % 4))
        self._value = int.from_bytes(data, "big") >> (8 * len(data) - self._size)
        self._left = self._size

    def take(self, n_bits: int) -> int:
        """The next bits as a number."""
        self._left -= n_bits
        if self._left < 0:
            raise BadTcString("it is cut off")
        return self._value >> self._left & ((1 << n_bits) - 1)

    def end(self) -> None:
        """Check that what is left is padding."""
        used = self._size - self._left
        by_bytes = -(-(-(-used // 8) * 8) // 6)
        by_groups = (
            -(-used // 24) * 4,
            (used // 24 + 1) * 4,
        )  # the reference implementation adds a group to a full one
        if self._size // 6 not in (by_bytes, *by_groups) or self._value & ((1 << self._left) - 1):
            raise BadTcString("it does not end where its fields do")


def _read_core(bits: _Bits) -> tuple[int, int, int, int, frozenset[int], Vendors]:
    if bits.take(6) != VERSION:
        raise BadTcString("it is not of version 2")
    created_ms, updated_ms = bits.take(36) * 100, bits.take(36) * 100
    if updated_ms < created_ms:
        raise BadTcString("it was updated before it was created")
    cmp_id = bits.take(12)
    bits.take(12)  # version of the CMP
    bits.take(6)  # screen
    _take_letters(bits)
    bits.take(12)  # version of the vendor list
    policy_version = bits.take(6)
    if policy_version < MIN_POLICY:
        raise BadTcString("its policy is older than TCF 2.2")
    if not bits.take(1):
        raise BadTcString("it is not of one service alone")
    bits.take(1)  # texts
    bits.take(12)  # special features
    granted = bits.take(_N_PURPOSES)
    purposes = frozenset(p for p in range(1, _N_PURPOSES + 1) if granted >> (_N_PURPOSES - p) & 1)
    bits.take(_N_PURPOSES)  # legitimate interest
    bits.take(1)  # treatment of purpose 1
    _take_letters(bits)
    vendors = _read_vendors(bits)
    _read_vendors(bits)  # legitimate interest
    for _ in range(bits.take(12)):  # the publisher's restrictions
        bits.take(6 + 2)
        _read_ranges(bits, 0xFFFF)
    bits.end()
    return created_ms, updated_ms, cmp_id, policy_version, purposes, vendors


def _take_letters(bits: _Bits) -> None:
    """A language or country: two letters of six bits."""
    if bits.take(6) > 25 or bits.take(6) > 25:
        raise BadTcString("its language or country is none")


def _read_vendors(bits: _Bits) -> Vendors:
    max_id = bits.take(16)
    if bits.take(1):
        return Vendors(max_id, 0, *_read_ranges(bits, max_id))
    return Vendors(max_id, bits=bits.take(max_id))


def _read_ranges(bits: _Bits, max_id: int) -> tuple[bytes, bytes]:
    """The first and the last id of each range, two bytes each."""
    firsts, lasts = array("H"), array("H")
    after = 0
    for _ in range(bits.take(12)):
        is_range = bits.take(1)
        first = bits.take(16)
        last = bits.take(16) if is_range else first
        if not after < first <= last <= max_id:
            raise BadTcString("its vendors are out of order")
        firsts.append(first)
        lasts.append(last)
        after = last
    return firsts.tobytes(), lasts.tobytes()


def _read_publisher(bits: _Bits) -> None:
    bits.take(2 * _N_PURPOSES)
    bits.take(2 * bits.take(6))

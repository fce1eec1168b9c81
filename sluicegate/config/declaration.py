"""What a destination type declares about itself before it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import msgspec


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call of `deliver` may hold at most, and how many calls may run at a time.

    `age_s` is how long events wait for more to fill their first call; 0 for not at all.
    """

    max_events: int = 500
    max_bytes: int = 450 * 1024
    in_flight: int = 1
    age_s: float = 0.0


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of a type's own settings: the keys of `[destinations.ID]` that are not common to all types.

    Fields of type `Secret` hide themselves. `__post_init__` may raise `ValueError("KEY: why, and what to write")`.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    """Purposes that the type always needs; a configuration may add to them and not remove."""
    limits: ClassVar[Limits] = Limits()
    """The vendor's limits; a configuration may lower them."""
    needs_person: ClassVar[bool] = False
    """Whether the vendor takes no event that says nothing of a person: no id, no address, no browser."""
    own_file: ClassVar[str] = ""
    """The key that names the file, relative to the data directory, which nothing but one destination may write."""

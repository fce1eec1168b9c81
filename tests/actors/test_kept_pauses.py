from __future__ import annotations

from sluicegate.actors.kept_pauses import KeptPauses
from sluicegate.loading.effects import PersistPause


class Disk:
    """Stores what it is told, unless it is broken."""

    def __init__(self) -> None:
        self.broken = False
        self.stored: dict[str, str | None] = {}

    def remember(self, id: str, reason: str | None) -> None:
        if self.broken:
            raise OSError("the disk is broken")
        self.stored[id] = reason


def test_pause_that_is_stored_leaves_nothing_to_say() -> None:
    disk = Disk()
    pauses = KeptPauses(disk.remember)

    pauses.keep("a", "maintenance")

    assert disk.stored == {"a": "maintenance"}
    assert (pauses.lacks("a"), pauses.owed("a"), pauses.refusal("a")) == (False, [], "")


def test_pause_that_cannot_be_stored_is_told_until_it_is() -> None:
    disk = Disk()
    pauses = KeptPauses(disk.remember)

    disk.broken = True
    pauses.keep("a", "maintenance")
    lacks, refusal, owed = pauses.lacks("a"), pauses.refusal("a"), pauses.owed("a")
    disk.broken = False
    pauses.keep("a", "maintenance")

    assert lacks and refusal.startswith("a is paused only until the next restart")
    assert not owed
    assert not pauses.lacks("a")


def test_end_of_a_pause_that_cannot_be_stored_is_owed() -> None:
    disk = Disk()
    pauses = KeptPauses(disk.remember)

    disk.broken = True
    pauses.keep("a", None)

    assert pauses.owed("a") == [PersistPause("a", None)]
    assert pauses.refusal("a").startswith("a is resumed only until the next restart")

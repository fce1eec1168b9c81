"""How long dead letters keep their events, and how much room they may take."""

from __future__ import annotations

from pathlib import Path

from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.store import DestinationStore


def trim_letters(path: Path, destination: DestinationConfig, *, now_ms: int) -> int:
    """Drop the letters of a store that are older or take more room than the destination keeps; returns how many.

    They lose event and response and stay counted as dead.
    """
    store = DestinationStore.open(path, start=0)
    try:
        return store.letters.trim(
            entered_before_ms=now_ms - round(destination.dead_letter_age_s * 1000),
            max_bytes=destination.dead_letter_bytes,
        )
    finally:
        store.close()

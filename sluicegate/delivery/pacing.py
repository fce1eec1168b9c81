"""How long a cycle of delivery waits for company after one that delivered little.

Pure. A cycle costs 0.2 to 0.5 ms of processor time however few events it delivers. Singles that come in thousands a
second are delivered together; the first after a pause still goes out at once.
"""

from __future__ import annotations

PACE_S = 0.004
"""From the beginning of one cycle to that of the next."""
BUSY_PER_S = 5_000.0
"""From this many events a second on, the processor is what all wait for, and cycles become fewer and larger."""
MAX_PACE_S = 0.025


def pace_s(n_events: int, period_s: float, *, goal: float) -> float:
    """The pace after a cycle that began `period_s` after the one before it and delivered `n_events`.

    `goal` is how many events a busy cycle should have.
    """
    if n_events < BUSY_PER_S * period_s:
        return PACE_S
    return max(PACE_S, min(MAX_PACE_S, goal * period_s / n_events)) if n_events else PACE_S

"""Commands that would change nothing: whoever gives one is told so instead of a success."""

from __future__ import annotations

from enum import Enum, auto

from sluicegate.loading.pauses import is_operators
from sluicegate.loading.slot import Slot
from sluicegate.loading.status import FAILING, State


class Command(Enum):
    """What an operator can ask of one destination."""

    UNLOAD = auto()
    RETRY = auto()
    RESET = auto()
    PAUSE = auto()
    RESUME = auto()


def why_pointless(command: Command, slot: Slot) -> str:
    """Why a command would leave everything as it is; empty when it would not."""
    process = slot.process
    runs = process is not None and not process.ending
    match command:
        case Command.UNLOAD if not runs and not slot.wanted:
            return f"{slot.id} is not loaded"
        case Command.RETRY if runs:
            return f"{slot.id} is {slot.state.value}: there is nothing to try again"
        case Command.RETRY if slot.wanted and slot.rest is State.REGISTERED:
            return f"{slot.id} is about to be loaded as it is"
        case Command.RESET if not slot.retry_count and not slot.crashes and slot.rest not in FAILING:
            return f"{slot.id} has no failures to forget"
        case Command.PAUSE if slot.rest is State.PAUSED and is_operators(slot.reason or ""):
            return f"{slot.id} is paused already"
        case Command.RESUME if slot.rest is not State.PAUSED:
            return f"{slot.id} is not paused"
    return ""

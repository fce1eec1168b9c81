"""Everything that can go wrong, and how often it does: each seed draws its own mixture, with many kinds left out."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """One kind of trouble, or of interference by people."""

    # Messages between actors
    MESSAGE_LOST = "message lost"
    MESSAGE_DOUBLED = "message doubled"
    MESSAGE_DELAYED = "message delayed"
    EXIT_LOST = "exit notice lost"
    EXIT_DOUBLED = "exit notice doubled"
    BELL_LOST = "bell not heard"
    # Starts and ends of processes
    SPAWN_FAILED = "process not started"
    SPAWN_SLOW = "process starts slowly"
    LOAD_FAILED = "plugin not ready"
    LOAD_CRASHED = "crash while loading"
    LOAD_HUNG = "initialize() hangs"
    LOAD_REFUSED = "initialize() refused"
    KILL_HANGS = "kill without effect"
    # Disks
    FSYNC_SLOW = "slow fsync"
    DISK_FULL = "append refused"
    STORE_UNAVAILABLE = "store unavailable"
    LOG_UNAVAILABLE = "log unavailable"
    LEDGER_UNREADABLE = "consent ledger unreadable"
    ERASING_INTERRUPTED = "erasing interrupted"
    # Vendors
    VENDOR_SLOW = "slow answer"
    VENDOR_500 = "500"
    VENDOR_429 = "429"
    VENDOR_400 = "400 for some events"
    VENDOR_UNKNOWN = "taken, but the call fails"
    VENDOR_LATE = "taken after the call failed"
    VENDOR_REFUSES = "credentials refused"
    VENDOR_HANGS = "call never ends"
    PLUGIN_BUG = "plugin raises nonsense"
    EVENT_KILLS = "event kills the process"
    EVENT_SICK = "event never goes through"
    CALL_ENTERED_LATE = "call entered late"
    # Out of the blue
    PROCESS_CRASH = "destination crashes"
    PROCESS_FREEZE = "destination frozen"
    SUPERVISOR_CRASH = "supervisor crashes"
    SUPERVISOR_FREEZE = "supervisor frozen"
    ROUTER_CRASH = "router crashes"
    GATEWAY_CRASH = "gateway crashes"
    POWER_CUT = "power cut"
    CLOCK_LEAP = "clock leap"
    LOG_TRIMMED = "log outgrown"
    # People
    CONSENT_GIVEN = "consent given"
    CONSENT_WITHDRAWN = "consent withdrawn"
    ERASED = "person erased"
    SUPPRESSED = "person suppressed"
    UNSUPPRESSED = "suppression ended"
    # Operators
    PAUSE = "pause"
    RESUME = "resume"
    UNLOAD = "unload"
    RETRY = "retry"
    RESET = "reset"
    CLEAR_ALL = "clear all"
    LOAD_BATCH = "load batch"
    REPLAY = "replay dead letters"


OUT_OF_THE_BLUE = (
    Fault.PROCESS_CRASH,
    Fault.PROCESS_FREEZE,
    Fault.SUPERVISOR_CRASH,
    Fault.SUPERVISOR_FREEZE,
    Fault.ROUTER_CRASH,
    Fault.GATEWAY_CRASH,
    Fault.POWER_CUT,
    Fault.CLOCK_LEAP,
    Fault.LOG_TRIMMED,
)
PEOPLE = (
    *(Fault.CONSENT_GIVEN,) * 3,
    *(Fault.CONSENT_WITHDRAWN,) * 4,
    Fault.ERASED,
    Fault.SUPPRESSED,
    Fault.UNSUPPRESSED,
)
"""By how often they act."""
OPERATORS = (
    Fault.PAUSE,
    Fault.RESUME,
    Fault.UNLOAD,
    Fault.RETRY,
    Fault.RESET,
    Fault.CLEAR_ALL,
    Fault.LOAD_BATCH,
    Fault.REPLAY,
)
EXCUSES_KILL = frozenset(
    {
        Fault.MESSAGE_LOST,
        Fault.MESSAGE_DELAYED,
        Fault.EXIT_LOST,
        Fault.SPAWN_SLOW,
        Fault.LOAD_HUNG,
        Fault.KILL_HANGS,
        Fault.VENDOR_HANGS,
        Fault.PROCESS_FREEZE,
        Fault.SUPERVISOR_FREEZE,
        Fault.STORE_UNAVAILABLE,
        Fault.LOG_UNAVAILABLE,
    }
)
"""What may make a process look dead that is not; without any of these nobody is to be killed."""

_SHARES = (0.0, 0.1, 0.3, 0.6)
_RATES = (0.02, 0.1, 0.3)
_PERIODS_S = (2.0, 8.0, 30.0)


class Swarm:
    """The mixture of one seed. `chance` is asked wherever a fault could be; what fired is counted."""

    def __init__(self, random: Random) -> None:
        self._random = random.random
        self.fired: Counter[Fault] = Counter()
        share = random.choice(_SHARES)
        self.active = frozenset(kind for kind in Fault if random.random() < share)
        self._rates = {kind: random.choice(_RATES) for kind in Fault if kind in self.active}
        self.blue = tuple(kind for kind in OUT_OF_THE_BLUE if kind in self.active)
        self.operators = tuple(kind for kind in OPERATORS if kind in self.active)
        self.people = tuple(kind for kind in PEOPLE if kind in self.active)
        self.blue_period_s = random.choice(_PERIODS_S)
        self.operator_period_s = random.choice(_PERIODS_S)
        self.people_period_s = random.choice(_PERIODS_S) / 4

    def invite(self, kind: Fault, *, share: int) -> None:
        """People do this more often than other things, by so many shares."""
        self.active |= {kind}
        self.people += (kind,) * share

    def chance(self, kind: Fault) -> bool:
        """Whether this fault happens now."""
        rate = self._rates.get(kind)
        if rate is None or self._random() >= rate:
            return False
        self.fired[kind] += 1
        return True

    def heal(self) -> None:
        """No more faults."""
        self._rates = {}
        self.blue = self.operators = self.people = ()

"""What happens in the demo, in order, and what has to come of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sluicegate.client import Client
from sluicegate.errors import SluicegateError
from sluicegate.messages.status import DestinationStatus, Statuses
from sluicegate.paths import DataDir
from sluicegate.scripts.demo_receiver import Receiver
from sluicegate.scripts.demo_view import View
from sluicegate.scripts.demo_visitors import Entrance, Preferences, Visitors
from sluicegate.scripts.status import ask_status
from sluicegate.scripts.tables import plain_line, unbalanced

STEP_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.05

NOTHING: Preferences = {"measurement": False, "functionality": False, "marketing": False}
MEASURED: Preferences = {**NOTHING, "measurement": True}
SERVED: Preferences = {**MEASURED, "functionality": True}


class DemoFailed(SluicegateError):
    """The demo did not see what it promised to show."""


@dataclass(slots=True)
class Account:
    """What a destination has to have done with the events that were sent."""

    delivered: int = 0
    held: int = 0
    denied: int = 0

    def fits(self, one: DestinationStatus) -> bool:
        """Whether it did just that, and nothing else."""
        total = self.delivered + self.held + self.denied
        seen = (one.accepted, one.delivered, one.held, one.denied)
        return seen == (total, self.delivered, self.held, self.denied)


class Story:
    """Every step waits until all is settled, and fails when something went where it may not."""

    def __init__(self, data_dir: DataDir, entrance: Entrance, receiver: Receiver, view: View) -> None:
        self._entrance = entrance
        self._receiver = receiver
        self._view = view
        self._sent = 0
        self._may_have: set[str] = set()
        self._accounts = {name: Account() for name in ("archive", "crm", "screen", "ads")}
        self._client = Client(data_dir.root)

    def tell(self) -> None:
        """Run the whole demo; raises `DemoFailed` when it does not show what it promises."""
        self._nothing_is_loaded()
        undecided, theirs = self._nobody_was_asked()
        self._all_refuse()
        self._some_agree()
        self._a_kill()
        self._idle_and_awake()
        self._change_of_mind(undecided, theirs)
        self._balance()
        self._client.close()

    # -- what happens -----------------------------------------------------------------------------------------------

    def _nothing_is_loaded(self) -> None:
        self._view.say(f"Sluicegate runs on http://{self._entrance.gateway}; four destinations, none loaded")
        self._until("all are registered", lambda s: all(d.state == "registered" for d in s.destinations))

    def _nobody_was_asked(self) -> tuple[Visitors, set[str]]:
        self._view.say(
            "100 events of people who have not been asked yet: the archive needs no consent and starts;"
            " for the others they are held, and none of those starts"
        )
        undecided = Visitors("undecided", None)
        ids = self._send(undecided, 100, delivered=["archive"], held=["crm", "screen", "ads"])
        self._settled()
        return undecided, ids

    def _all_refuse(self) -> None:
        self._view.say("100 events of people who said no to everything: denied everywhere but in the archive")
        self._send(Visitors("refusing", NOTHING), 100, delivered=["archive"])
        self._settled()

    def _some_agree(self) -> None:
        self._view.say("100 events with consent to measurement: the CRM webhook starts with the first of them")
        self._send(Visitors("measured", MEASURED), 100, delivered=["archive", "crm"])
        self._settled()
        self._view.say(
            "100 events with measurement and functionality: the console starts; ads stays unloaded, nobody agreed"
        )
        self._send(Visitors("served", SERVED), 100, delivered=["archive", "crm", "screen"])
        self._settled()

    def _a_kill(self) -> None:
        self._view.say("kill -9 of the CRM's process while 200 more events arrive")
        visitors = Visitors("unlucky", MEASURED)
        self._send(visitors, 50, delivered=["archive", "crm"])
        epoch, n_sent = self._kill_crm(visitors)
        self._send(visitors, 150 - n_sent, delivered=["archive", "crm"])
        self._settled("the CRM is back", lambda s: _get(s, "crm").epoch > epoch)
        self._view.say(f"it is back with epoch {self._one('crm').epoch}, and nothing is missing")

    def _kill_crm(self, visitors: Visitors) -> tuple[int, int]:
        """Kill the CRM's process; the epoch of the one that was killed, and how many events it took to wake it."""
        for n_sent in range(100):
            crm = self._one("crm")
            with contextlib.suppress(ProcessLookupError):
                if crm.pid is not None:
                    os.kill(crm.pid, signal.SIGKILL)
                    return crm.epoch, n_sent
            # On a slow machine it has done its events and fallen idle already: one more wakes it.
            self._send(visitors, 1, delivered=["archive", "crm"])
            self._until("the CRM runs", lambda s, before=crm.epoch: _get(s, "crm").epoch > before)  # type: ignore[misc]
        raise DemoFailed("the CRM falls idle before it can be killed")

    def _idle_and_awake(self) -> None:
        self._view.say("nothing arrives for two seconds: destinations fall idle and stop")
        self._until("the CRM has stopped", lambda s: _get(s, "crm").state == "registered")
        self._view.say("one more event wakes it")
        self._send(Visitors("late", MEASURED), 1, delivered=["archive", "crm"])
        self._settled("the CRM is loaded", lambda s: _get(s, "crm").loaded)

    def _change_of_mind(self, undecided: Visitors, ids: set[str]) -> None:
        self._view.say(
            "the people of the first step are asked now, and say yes to measurement and functionality:"
            " what was held for them goes out, and for ads it is denied"
        )
        self._entrance.decide(undecided, SERVED)
        self._may_have |= ids
        for name, account in self._accounts.items():
            granted = name in ("crm", "screen")
            account.delivered += account.held if granted else 0
            account.denied += 0 if granted else account.held
            account.held = 0
        self._settled("nothing is held", lambda s: all(d.held == 0 for d in s.destinations))

    def _balance(self) -> None:
        self._view.say("the balance: accepted = delivered + pending + held + dead + denied + expired")
        statuses = self._settled()
        for one in statuses.destinations:
            self._view.say(plain_line(one))
        received, again = self._receiver.received()
        self._view.say(
            f"the receiver got {len(received)} different events, and {again} again after the kill (at least once)"
        )
        wrong = unbalanced(statuses.destinations)
        if received != self._may_have:
            lost, stray = len(self._may_have - received), len(received - self._may_have)
            wrong.append(f"crm: the receiver misses {lost} events and has {stray} that it may not have")
        if _get(statuses, "ads").last_attempt is not None:
            wrong.append("ads: was started although nobody agreed to marketing")
        if wrong:
            raise DemoFailed("the accounts do not balance: " + "; ".join(wrong))
        self._view.say(f"balanced: {self._sent} events, every one accounted for at every destination")

    # -- steps ------------------------------------------------------------------------------------------------------

    def _send(
        self, visitors: Visitors, count: int, *, delivered: Collection[str], held: Collection[str] = ()
    ) -> set[str]:
        """Send events and note what is to become of them: who neither gets nor holds them denies them."""
        events = visitors.events(count)
        self._entrance.send(events)
        ids = {event["messageId"] for event in events}
        self._sent += count
        self._may_have |= ids if "crm" in delivered else set()
        for name, account in self._accounts.items():
            account.delivered += count if name in delivered else 0
            account.held += count if name in held else 0
            account.denied += count if name not in delivered and name not in held else 0
        return ids

    def _settled(
        self, what: str = "nothing is pending", holds: Callable[[Statuses], bool] = lambda statuses: True
    ) -> Statuses:
        """Wait until every destination is done with every event; then all accounts have to be what they should."""

        def done(statuses: Statuses) -> bool:
            return all(d.accepted == self._sent and d.pending == 0 for d in statuses.destinations) and holds(statuses)

        statuses = self._until(what, done)
        wrong = [d for d in statuses.destinations if not self._accounts[d.id].fits(d)]
        if wrong:
            lines = "\n".join(f"{plain_line(one)}\n  should have {self._accounts[one.id]}" for one in wrong)
            raise DemoFailed(f"events went where they may not, or are missing:\n{lines}")
        return statuses

    def _until(self, what: str, holds: Callable[[Statuses], bool]) -> Statuses:
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while True:
            statuses = ask_status(self._client)
            self._view.show(statuses)
            if holds(statuses):
                self._view.pause()
                return statuses
            if time.monotonic() > deadline:
                lines = "\n".join(map(plain_line, statuses.destinations))
                raise DemoFailed(f"waited {STEP_TIMEOUT_S:.0f} s in vain until {what}:\n{lines}")
            time.sleep(LOOK_EVERY_S)

    def _one(self, name: str) -> DestinationStatus:
        return _get(ask_status(self._client), name)


def _get(statuses: Statuses, name: str) -> DestinationStatus:
    return next(d for d in statuses.destinations if d.id == name)

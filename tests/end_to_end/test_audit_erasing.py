from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.end_to_end.harness import System
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_audit import exported, refuses_bad, tell, verified, words_of
from tests.end_to_end.test_regulations import ANNE, BEN, CONFIG, ask, erased, of, until_finished

MakeSystem = Callable[..., System]

CLEO = "cleo-91d2"
PEOPLE = (ANNE, BEN, CLEO)
FATES = {"delivered": range(0, 4), "failed": range(4, 6), "pending": range(6, 9)}
"""Of the events of each person at `crm`, by number; `ads` holds all of them."""


def settle_some(running: System, receiver: Receiver) -> None:
    """Of each person events that are delivered, dead, and waiting at a destination that is paused."""
    receiver.answer = refuses_bad
    for fate in ("delivered", "failed"):
        bad = {"bad": True} if fate == "failed" else {}
        running.post([of(person, n, properties=bad) for n in FATES[fate] for person in PEOPLE])
    running.until("crm", "done", lambda one: (one.delivered, one.dead, one.pending) == (12, 6, 0))
    assert running.admin("pause", "crm").returncode == 0
    running.post([of(person, n) for n in FATES["pending"] for person in PEOPLE])
    running.until("ads", "holding", lambda one: one.held == 27)


def sums(found: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """What is decided, held and waits at each destination; together that is what came."""
    assert all(one["settled"] + one["held"] + one["waiting"] == one["accepted"] for one in found.values())
    return {name: (one["settled"], one["held"], one["waiting"]) for name, one in found.items()}


def words_are_accounts(running: System) -> bool:
    """Whether the exported decisions, the newest of each event, come to the accounts, word by word."""
    return all(Counter(exported(running, name).values()) == words_of(running, name) for name in ("ads", "crm"))


def test_proof_holds_over_the_erasure_of_delivered_held_pending_and_dead_events(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    settle_some(running, receiver)
    before = verified(running)

    until_finished(running, ask(running, "SUPPRESS_WITH_DELETE", ANNE))
    running.until("ads", "holding the others", lambda one: one.held == 18)
    while_pending = verified(running)
    equal_while_pending = words_are_accounts(running)
    running.stop()
    erased(running, "--anonymous-id", CLEO)
    while_stopped = verified(running)
    running.start()
    running.admin("resume", "crm")
    tell(running, BEN, marketing=True)
    crm = running.until("crm", "done", lambda one: one.pending == 0)
    ads = running.until("ads", "done", lambda one: one.held == 0)
    after = verified(running)

    assert sums(before) == {"crm": (18, 0, 9), "ads": (0, 27, 0)}
    assert sums(while_pending) == {"crm": (18, 0, 9), "ads": (9, 18, 0)}
    assert while_pending["crm"]["decided"] == {"delivered": 12, "failed": 4, "erased": 2}
    assert while_stopped["crm"]["decided"] == {"delivered": 12, "failed": 2, "erased": 4}
    assert sums(after) == {"crm": (27, 0, 0), "ads": (27, 0, 0)}
    assert after["crm"]["decided"] == {"delivered": 15, "failed": 2, "erased": 10}
    assert after["ads"]["decided"] == {"delivered": 9, "erased": 18}
    assert (crm.denied_by, ads.denied_by) == ({"erased": 10}, {"erased": 18})
    assert equal_while_pending
    assert words_are_accounts(running)
    running.stop()
    running.start()
    assert sums(verified(running)) == sums(after)

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from tests.end_to_end.harness import System, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_explain import CONFIG
from tests.end_to_end.test_withdrawal import tell

MakeSystem = Callable[..., System]
BOTH, ONE, HALF = (
    {"measurement": True, "marketing": True},
    {"measurement": True},
    {"measurement": True, "marketing": False},
)


def content(folder: Path) -> dict[str, dict[str, list[object]]]:
    """What every database holds, wherever in its files: a look may move a WAL that was left over."""
    found = {}
    for path in sorted(folder.rglob("*.db")):
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            found[str(path)] = {name: list(db.execute(f'SELECT * FROM "{name}"')) for name in tables}
    return found


def asked(running: System, *options: str) -> dict[str, Any]:
    done = running.admin("consent", "dry-run", "--destination", "crm", *options, "--json")
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_dry_run_tells_what_another_requirement_would_change_and_writes_nothing(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    tell(running, "granted-later", marketing=True)
    events = [track(number, consent=BOTH, subject="both") for number in range(5)]
    events += [track(number, consent=HALF, subject="half") for number in range(3)]
    events += [track(number, consent=ONE, subject="silent") for number in range(2)]
    events += [track(number, consent=ONE, subject="granted-later") for number in range(4)]
    events += [track(number, subject="nothing") for number in range(6)]
    elsewhere = track(1, consent=BOTH, subject="both")
    elsewhere["integrations"] = {"crm": False}
    running.post([*events, elsewhere])
    for name in ("archive", "crm", "pages"):
        running.until(name, "done", lambda one: one.pending == 0)
    running.stop()
    before = content(running.data_dir.root)

    stricter = asked(running, "--also-requires", "marketing")
    looser = asked(running, "--requires", "necessary")
    text = running.admin("consent", "dry-run", "--destination", "crm", "--also-requires", "marketing")

    assert content(running.data_dir.root) == before
    assert stricter["events"] == 21
    assert stricter["wouldRequire"] == {"all": ["marketing", "measurement"], "any": []}
    assert stricter["now"] == {"delivered": 14, "not_selected": 1, "held": 6}
    assert stricter["then"] == {"delivered": 9, "denied": 3, "not_selected": 1, "held": 8}
    assert stricter["changed"] == [
        {"from": "delivered", "to": "denied", "events": 3},
        {"from": "delivered", "to": "held", "events": 2},
    ]
    assert [source["events"] for source in stricter["sources"].values()] == [21]
    assert looser["then"] == {"delivered": 20, "not_selected": 1}
    assert "5 would not go any more" in text.stdout
    assert "crm requires marketing and measurement" in text.stdout


def test_dry_run_refuses_unknown_names(system: MakeSystem, receiver: Receiver) -> None:
    stopped = system(CONFIG.format(url=receiver.url))

    answers = [
        stopped.admin("consent", "dry-run", "--destination", *words)
        for words in (["crn", "--also-requires", "marketing"], ["crm", "--also-requires", "marketign"], ["crm"])
    ]

    assert [one.returncode for one in answers] == [1, 2, 2]
    assert "crm" in answers[0].stderr
    assert "marketing" in answers[1].stderr

from __future__ import annotations

import json

from tests.end_to_end.harness import ARCHIVE, MakeSystem
from tests.scripts.narrow import narrow_admin


def test_id_of_a_regulation_can_be_copied_from_the_table_of_all(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()
    asked = json.loads(narrow_admin(running, "erase", "--user-id", "anne", "--json"))

    text = narrow_admin(running, "regulations")

    assert asked["id"] in text
    assert "…" not in text


def test_counts_stand_apart_from_their_names(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()

    text = narrow_admin(running, "stats")

    counts = json.loads(narrow_admin(running, "stats", "--json"))
    assert [line.split() for line in text.splitlines()] == [[name, str(count)] for name, count in counts.items()]


def test_history_is_told_in_full(system: MakeSystem) -> None:
    running = system(ARCHIVE).start()
    narrow_admin(running, "consent", "withdraw", "--user-id", "anne", "--all")

    text = narrow_admin(running, "consent", "history", "--user-id", "anne")

    assert "…" not in text

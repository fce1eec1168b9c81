from __future__ import annotations

import importlib.metadata

from sluicegate.actors.pinned import PINNED, changed, fingerprint


def test_thespian_is_the_version_that_the_actor_base_was_made_for() -> None:
    assert importlib.metadata.version("thespian") == "4.0.1"


def test_replaced_code_of_thespian_has_not_changed() -> None:
    names = changed()

    assert names == [], (
        f"Thespian has changed {', '.join(names)}. The actor base replaces this code or relies on it: "
        "read docs/actor-base.md, compare the versions, adapt actors/, then renew the hashes in actors/pinned.py."
    )


def test_missing_code_counts_as_changed() -> None:
    assert fingerprint("thespian.actors:NoSuchThing") == "missing"
    assert fingerprint("no.such.module:Thing") == "missing"
    assert "missing" not in PINNED.values()

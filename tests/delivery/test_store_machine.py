from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sluicegate.accounts import StoreState
from sluicegate.delivery.letters import LetterFilter, LetterStatus
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import StaleEpoch
from tests.delivery.test_store import ids, letter


class StoreMachine(RuleBasedStateMachine):
    """Two processes on one store, with epochs and expectations that may be stale, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "crm.db"
        self.stores = [DestinationStore.open(path, start=5) for _ in range(2)]
        self.epoch = 0
        self.counts = {"delivered": 0, "dead": 0, "expired": 0}
        self.denied: dict[str, int] = {}
        self.letters: dict[int, LetterStatus] = {}

    @property
    def cursor(self) -> int:
        return 5 + sum(self.counts.values()) + sum(self.denied.values())

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self._folder.cleanup()

    def deny(self, denied: dict[str, int]) -> None:
        for reason, n in denied.items():
            self.denied[reason] = self.denied.get(reason, 0) + n

    who = st.integers(0, 1)
    few = st.integers(0, 3)
    reasons = st.dictionaries(st.sampled_from("ab"), st.integers(1, 3))

    @rule(who=who, step=st.integers(-1, 2))
    def claim(self, who: int, step: int) -> None:
        if step <= 0:
            with pytest.raises(StaleEpoch):
                self.stores[who].claim(self.epoch + step)
        else:
            self.stores[who].claim(self.epoch + step)
            self.epoch += step

    @rule(who=who, age=st.integers(0, 1), delivered=few, expired=few, denied=reasons, n_dead=few)
    def commit(self, who: int, age: int, delivered: int, expired: int, denied: dict[str, int], n_dead: int) -> None:
        cursor = self.cursor + delivered + expired + sum(denied.values()) + n_dead
        letters = [letter(self.cursor + 1 + index) for index in range(n_dead)]

        def commit() -> None:
            self.stores[who].commit(
                self.epoch - age,
                cursor=cursor,
                delivered=delivered,
                expired=expired,
                denied=denied,
                dead_letters=letters,
            )

        if age:
            with pytest.raises(StaleEpoch):
                commit()
            return
        commit()
        self.counts["delivered"] += delivered
        self.counts["expired"] += expired
        self.counts["dead"] += n_dead
        self.deny(denied)
        for item in self.stores[who].letters.list(limit=1_000):
            self.letters.setdefault(item.id, LetterStatus.DEAD)

    @rule(who=who, age=st.integers(0, 1), back=st.integers(0, 1), denied=reasons, expired=few)
    def skip(self, who: int, age: int, back: int, denied: dict[str, int], expired: int) -> None:
        start = self.cursor - back
        moved = self.stores[who].skip(
            expected_epoch=self.epoch - age,
            expected_cursor=start,
            cursor=start + sum(denied.values()) + expired,
            denied=denied,
            expired=expired,
        )
        assert moved == (not age and not back)
        if moved:
            self.counts["expired"] += expired
            self.deny(denied)

    @precondition(lambda self: self.letters)
    @rule(who=who, data=st.data(), drop=st.booleans())
    def mark(self, who: int, data: st.DataObject, drop: bool) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.letters)), unique=True))
        where = LetterFilter(ids=chosen)
        allowed = {LetterStatus.DEAD, LetterStatus.REPLAY} if drop else {LetterStatus.DEAD}
        changed = [id_ for id_ in chosen if self.letters[id_] in allowed]

        n = self.stores[who].letters.drop(where) if drop else self.stores[who].letters.mark_replay(where)

        assert n == len(changed)
        self.letters.update(dict.fromkeys(changed, LetterStatus.DROPPED if drop else LetterStatus.REPLAY))

    @precondition(lambda self: self.letters)
    @rule(who=who, data=st.data(), age=st.integers(0, 1))
    def settle(self, who: int, data: st.DataObject, age: int) -> None:
        outcome = st.sampled_from(["delivered", "failed", "denied"])
        outcomes = data.draw(st.dictionaries(st.sampled_from(sorted(self.letters)), outcome))
        chosen = {kind: [i for i, o in outcomes.items() if o == kind] for kind in ("delivered", "failed", "denied")}

        def settle() -> None:
            self.stores[who].settle_replay(
                self.epoch - age,
                delivered=chosen["delivered"],
                failed=dict.fromkeys(chosen["failed"], "500"),
                denied=dict.fromkeys(chosen["denied"], "a"),
                now_ms=1,
            )

        if age:
            with pytest.raises(StaleEpoch):
                settle()
            return
        settle()
        self._model_settle(outcomes)

    def _model_settle(self, outcomes: dict[int, str]) -> None:
        for id_, kind in outcomes.items():
            if kind == "failed" and self.letters[id_] is LetterStatus.REPLAY:
                self.letters[id_] = LetterStatus.DEAD
            elif kind != "failed" and self.letters[id_] is not LetterStatus.DEAD:
                del self.letters[id_]
                self.counts["dead"] -= 1
                if kind == "delivered":
                    self.counts["delivered"] += 1
                else:
                    self.deny({"a": 1})

    @invariant()
    def both_see_the_model(self) -> None:
        delivered, dead, expired = (self.counts[name] for name in ("delivered", "dead", "expired"))
        expected = StoreState(self.epoch, 5, self.cursor, delivered, dead, expired, denied=self.denied)
        assert [store.state for store in self.stores] == [expected, expected]
        assert len(self.letters) == self.counts["dead"]

    @invariant()
    def letters_have_the_status_of_the_model(self) -> None:
        for status in LetterStatus:
            found = ids(self.stores[0].letters.list(LetterFilter(status=status), limit=1_000))
            assert found == sorted(id_ for id_, known in self.letters.items() if known is status)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

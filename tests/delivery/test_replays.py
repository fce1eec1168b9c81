from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sluicegate import masking
from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, ConsentModel, Requirement
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.lane import Origin
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.letters import DeadLetter, LetterFilter
from sluicegate.delivery.plugin import Mask
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.store import DestinationStore
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import ConsentUnreadable, LogUnavailable, Retry
from sluicegate.event import Combo
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.eventlog.runs import Events
from sluicegate.paths import DataDir
from sluicegate.routing import Decision

GRANTED = Combo("track", "web", (("measurement", True),))


def letter(offset: int, reason: str, *, combo: Combo = GRANTED) -> DeadLetter:
    return DeadLetter(
        offset=offset,
        message_id=f"m{offset}",
        combo=combo,
        event=b'{"anonymousId":"visitor"}',
        reason=reason,
        attempts=1,
        first_attempt_at_ms=1,
        last_attempt_at_ms=1,
        entered_at_ms=1,
    )


class Fails:
    """A call that fails once, and then does what it stands for."""

    def __init__(self, error: Exception, method: object) -> None:
        self._error: Exception | None = error
        self._method = method

    def __call__(self, *args: object, **named: object) -> object:
        error, self._error = self._error, None
        if error is not None:
            raise error
        assert callable(self._method)
        return self._method(*args, **named)


@pytest.mark.parametrize("place", ["ledger", "store"])
def test_letters_are_replayed_when_the_first_look_at_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    data_dir = DataDir(tmp_path)
    ledger = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())
    gate = Gate(ledger, Requirement(("measurement",)), ConsentConfig())
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    with closing(store), closing(ledger):
        store.claim(1)
        store.commit(1, cursor=2, dead_letters=[letter(1, "400"), letter(2, "400")])
        store.letters.mark_replay()
        lanes = Lanes(2, Limits(), gate=gate)
        commits = Commits(store, lanes, Reader(MemoryLog(), lambda combo: None, lanes), epoch=1, mask=Mask())
        refused = {"ledger": "the ledger is locked", "store": "the store is locked"}[place]
        if place == "ledger":
            monkeypatch.setattr(gate, "refresh", Fails(ConsentUnreadable(refused), gate.refresh))
        else:
            monkeypatch.setattr(store, "settle_replay", Fails(LogUnavailable(refused), store.settle_replay))
        left_out = iter(["no longer wanted"])  # so that there is something to settle

        with pytest.raises((ConsentUnreadable, LogUnavailable), match=refused):
            commits.take_replays(lambda combo: next(left_out, None))
        commits.take_replays(lambda combo: None)

        assert lanes.has_waiting


def test_letter_that_the_vendor_fails_for_keeps_no_later_replay_waiting(tmp_path: Path) -> None:
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    operator = DestinationStore.open(tmp_path / "crm.db", start=0)
    with closing(store), closing(operator):
        store.claim(1)
        store.commit(1, cursor=2, dead_letters=[letter(1, "400"), letter(2, "400")])
        lanes = Lanes(2, Limits())
        commits = Commits(store, lanes, Reader(MemoryLog(), lambda combo: None, lanes), epoch=1, mask=Mask())
        operator.letters.mark_replay(LetterFilter(message_id="m1"))
        commits.take_replays(lambda combo: None)
        (sick,) = lanes.next_batches(0.0)
        lanes.complete(sick, Retry("500"), now=0.0)

        operator.letters.mark_replay(LetterFilter(message_id="m2"))
        commits.take_replays(lambda combo: None)
        (work,) = lanes.next_batches(0.0)
        lanes.complete(work, None, now=0.0)
        commits.gather(0.0)
        commits.commit()
        commits.take_replays(lambda combo: None)

        assert (sick.batch.message_ids, work.batch.message_ids) == (["m1"], ["m2"])
        assert (store.state.delivered, store.state.dead, lanes.letters) == (1, 1, {1})


def test_replayed_letters_are_judged_although_nobody_has_told_the_ledger_anything(tmp_path: Path) -> None:
    silent, elsewhere = Combo("track", "web"), Combo("track", "web", place="US")
    data_dir = DataDir(tmp_path)
    ledger = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())
    consent = ConsentConfig(jurisdictions={"US": ConsentModel.OPT_OUT})
    gate = Gate(ledger, Requirement(("marketing",)), consent)
    store = DestinationStore.open(tmp_path / "ads.db", start=0)
    with closing(store), closing(ledger):
        store.claim(1)
        store.commit(1, cursor=2, dead_letters=[letter(1, "400", combo=silent), letter(2, "400", combo=elsewhere)])
        store.letters.mark_replay()
        lanes = Lanes(2, Limits(), gate=gate)
        commits = Commits(store, lanes, Reader(MemoryLog(), lambda combo: None, lanes), epoch=1, mask=Mask())

        commits.take_replays(lambda combo: Decision.CONSENT_UNDECIDED)
        (work,) = lanes.next_batches(0.0)

        assert work.batch.message_ids == ["m2"]
        assert [*lanes.aside(Origin.LETTERS).denied.values()] == [Decision.CONSENT_UNDECIDED]


def test_letters_that_are_each_left_out_for_a_reason_of_their_own_are_settled(tmp_path: Path) -> None:
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    with closing(store):
        store.claim(1)
        store.commit(1, cursor=300, dead_letters=[letter(offset, "400") for offset in range(1, 301)])
        store.letters.mark_replay()
        lanes = Lanes(300, Limits())
        commits = Commits(store, lanes, Reader(MemoryLog(), lambda combo: None, lanes), epoch=1, mask=Mask())
        n_left_out = 0

        while n_left_out < 300:
            commits.take_replays(lambda combo: None)
            for work in lanes.next_batches(0.0):
                reasons = {index: f"no template for {id_}" for index, id_ in enumerate(work.batch.message_ids)}
                n_left_out += len(reasons)
                lanes.complete(work, Outcome(skipped=reasons), now=0.0)
            commits.gather(0.0)
        commits.commit()
        commits.take_replays(lambda combo: None)

        assert (store.state.dead, sum(store.state.denied.values())) == (0, 300)
        assert store.state.denied["other"] == 300 - 248


def test_reason_for_which_an_event_is_left_out_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "hidden", masking.Mask(["tok-12345678"]))
    lanes = Lanes(0, Limits())
    lanes.add(bytes(1), Events.of([1], ["m1"], ["visitor"], [b"{}"]))
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Outcome(skipped={0: "tok-12345678 is not allowed"}), now=0.0)

    assert lanes.settlement.advance().denied == {"*** is not allowed": 1}

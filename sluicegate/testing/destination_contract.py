# ruff: noqa: D102  (the name of a test says what it demands)
"""What every destination must do: subclass `DestinationContract` in a test module, and say how to make one.

    class TestMyDestination(DestinationContract):
        def make(self, tmp_path):
            self.vendor = FakeVendor()
            return make_destination(MyDestination, tmp_path, url=self.vendor.url)

        def received(self):
            return self.vendor.message_ids

        def script(self, answer):
            self.vendor.next_answer = {"busy": 503, "refused": 401, "rejected": 400}[answer]

`received` and `script` may be left out; what needs them is then skipped. For pytest.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from sluicegate.config.declaration import Settings
from sluicegate.config.settings import settings_for
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from sluicegate.network import Network

VendorAnswer = Literal["busy", "refused", "rejected"]
"""busy: cannot take events now; refused: does not accept our credentials; rejected: will never take these events."""

LOOPBACK = Network(("127.0.0.0/8", "::1"))
AWKWARD_TEXTS = ("plain", "", "ünïcödé \u2028 \U0001f600", '"quoted" \\ back', "tab\tline\nreturn\r", "x" * 20_000)


def make_destination(
    kind: type[Destination],
    data_dir: Path,
    *,
    id: str = "under-test",
    timeout_s: float = 10.0,
    network: Network = LOOPBACK,
    **settings: Any,
) -> Destination:
    """An instance as the system makes one: settings checked, limits as declared; it may connect to this machine."""
    checked = settings_for(id, settings, kind.settings_type)
    return kind(checked, Context(id, checked.limits, timeout_s, data_dir, network))


def make_event(message_id: str, **properties: object) -> bytes:
    """The JSON of a track event."""
    return msgspec.json.encode(
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": message_id,
            "anonymousId": "visitor",
            "timestamp": "2026-01-05T12:00:00.000Z",
            "properties": properties,
        }
    )


def make_batch(ids: Sequence[str], *, first_offset: int = 1, raws: Sequence[bytes] | None = None) -> Batch:
    """A batch of track events with these message ids."""
    events = list(raws) if raws is not None else [make_event(id_, number=n) for n, id_ in enumerate(ids)]
    return Batch(list(range(first_offset, first_offset + len(ids))), list(ids), events)


class DestinationContract(ABC):
    """The verbs in their order, their errors, and what they must leave alone."""

    @abstractmethod
    def make(self, tmp_path: Path) -> Destination:
        """An instance that has not been initialised, with a vendor that takes everything."""

    def received(self) -> Sequence[str]:
        """Message ids of all that the vendor has, in order of arrival."""
        pytest.skip("`received` is not implemented: nobody can look into the vendor")

    def script(self, answer: VendorAnswer) -> None:
        """Make the vendor answer every further call like this."""
        pytest.skip("`script` is not implemented: the vendor cannot be told to fail")

    def event(self, message_id: str, **properties: object) -> bytes:
        """The JSON of an event that the vendor takes; override when a track event with any properties is not enough."""
        return make_event(message_id, **properties)

    def batch(self, ids: Sequence[str], *, first_offset: int = 1) -> Batch:
        """A batch of such events."""
        raws = [self.event(id_, number=n) for n, id_ in enumerate(ids)]
        return make_batch(ids, first_offset=first_offset, raws=raws)

    @pytest.fixture
    def destination(self, tmp_path: Path, request: pytest.FixtureRequest) -> Destination:
        """An initialised instance that is destroyed after the test."""
        made = self.make(tmp_path)
        made.initialize()
        request.addfinalizer(made.destroy)
        return made

    def test_declarations_can_be_read(self, tmp_path: Path) -> None:
        settings_type = self.make(tmp_path).settings_type

        assert issubclass(settings_type, Settings)
        assert all(isinstance(purpose, str) for purpose in settings_type.requires)
        limits = settings_type.limits
        assert min(limits.max_events, limits.max_bytes, limits.in_flight) >= 1

    def test_instance_that_never_delivered_can_be_destroyed(self, tmp_path: Path) -> None:
        destination = self.make(tmp_path)
        destination.initialize()

        destination.destroy()

    def test_test_has_no_side_effects(self, destination: Destination) -> None:
        destination.test()

        assert list(self.received()) == []

    def test_single_event_arrives(self, destination: Destination) -> None:
        assert destination.deliver(self.batch(["m-1"])) is None

        assert list(self.received()) == ["m-1"]

    def test_batch_arrives_complete_and_in_order(self, destination: Destination) -> None:
        n_events = min(300, destination.settings.limits.max_events)
        ids = [f"m-{n}" for n in range(n_events)]

        destination.deliver(self.batch(ids))

        assert list(self.received()) == ids

    def test_batches_arrive_one_after_the_other(self, destination: Destination) -> None:
        for n in range(5):
            destination.deliver(self.batch([f"m-{n}"], first_offset=n + 1))

        assert list(self.received()) == [f"m-{n}" for n in range(5)]

    def test_awkward_texts_arrive(self, destination: Destination) -> None:
        ids = [f"m-{n}" for n in range(len(AWKWARD_TEXTS))]
        raws = [self.event(id_, text=text) for id_, text in zip(ids, AWKWARD_TEXTS, strict=True)]

        for n, (id_, raw) in enumerate(zip(ids, raws, strict=True)):
            destination.deliver(make_batch([id_], first_offset=n + 1, raws=[raw]))

        assert list(self.received()) == ids

    def test_event_with_line_breaks_between_its_tokens_arrives(self, destination: Destination) -> None:
        raw = msgspec.json.format(self.event("m-1", a=1), indent=2)
        assert b"\n" in raw

        destination.deliver(make_batch(["m-1", "m-2"], raws=[raw, self.event("m-2")]))

        assert list(self.received()) == ["m-1", "m-2"]

    def test_batch_is_left_as_it_was(self, destination: Destination) -> None:
        batch = self.batch(["m-1", "m-2"])
        before = (list(batch.offsets), list(batch.message_ids), list(batch.raws), batch.attempt)

        destination.deliver(batch)

        assert (batch.offsets, batch.message_ids, batch.raws, batch.attempt) == before

    def test_same_batch_can_be_sent_again(self, destination: Destination) -> None:
        batch = self.batch(["m-1"])
        destination.deliver(batch)
        batch.attempt = 2

        destination.deliver(batch)

        assert set(self.received()) == {"m-1"}

    def test_as_many_calls_as_declared_can_run_at_a_time(self, destination: Destination) -> None:
        n_threads = min(8, destination.settings.limits.in_flight)
        failures = run_together([self._deliverer(destination, f"t{n}") for n in range(n_threads)])

        assert failures == []
        expected = {f"t{thread}-{n}" for thread in range(n_threads) for n in range(5)}
        assert set(self.received()) == expected

    def test_busy_vendor_means_retry(self, destination: Destination) -> None:
        self.script("busy")

        with pytest.raises(Retry) as raised:
            destination.deliver(self.batch(["m-1"]))

        assert str(raised.value)

    def test_refused_credentials_are_told_apart(self, destination: Destination) -> None:
        self.script("refused")

        with pytest.raises(CredentialsRefused) as raised:
            destination.deliver(self.batch(["m-1"]))

        assert str(raised.value)

    def test_rejection_says_why(self, destination: Destination) -> None:
        self.script("rejected")
        batch = self.batch(["m-1", "m-2"])

        reasons: str | Mapping[int, str]
        try:
            outcome = destination.deliver(batch)
        except Rejected as error:
            reasons = error.reasons
        else:
            assert outcome is not None, "delivered"
            assert outcome.problem(len(batch)) is None
            reasons = outcome.rejected
        if isinstance(reasons, Mapping):
            assert reasons
            assert set(reasons) <= {0, 1}
            assert all(reasons.values())
        else:
            assert reasons

    def _deliverer(self, destination: Destination, name: str) -> Callable[[], None]:
        def deliver() -> None:
            for n in range(5):
                destination.deliver(self.batch([f"{name}-{n}"], first_offset=n + 1))

        return deliver


def run_together(calls: Sequence[Callable[[], None]]) -> list[BaseException]:
    """Run the calls in threads of their own; what they raised."""
    failures: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures

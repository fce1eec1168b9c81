"""The ways in: a batch, a single event, and events from an actor message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sluicegate.acceptance.body import check_batch_size, check_own_keys, checked_text, is_text, open_batch
from sluicegate.acceptance.combining import Combiner, Scope, Told
from sluicegate.acceptance.message_id import MessageIds
from sluicegate.acceptance.plain import read_plain
from sluicegate.acceptance.single import SingleReader
from sluicegate.acceptance.times import Clock
from sluicegate.acceptance.uniform import read_together, read_uniform
from sluicegate.acceptance.verdict import Acceptance, BadEvent, Reason, Rejection
from sluicegate.acceptance.ways import NO_SIGNALS, Signals, Ways
from sluicegate.config.model import ConsentConfig, GatewayConfig, PurposesConfig
from sluicegate.consent.stamp import Parts
from sluicegate.errors import BodyRefused
from sluicegate.event import EventBatch

_TOLD_NOTHING = Told()


class Acceptor:
    """Takes events in within the limits of the gateway, whatever way they come; for one thread.

    `source` names who sends, and `received_at_ms` is when, in Unix milliseconds. A body that cannot be taken as a whole
    raises `BodyRefused`; otherwise every event has a verdict of its own.
    """

    def __init__(
        self, limits: GatewayConfig, purposes: PurposesConfig | None = None, consent: ConsentConfig | None = None
    ) -> None:
        self.limits = limits
        self.ways = Ways(purposes, consent)
        self._combiner = Combiner(self.ways)
        self._single = SingleReader(limits, MessageIds())

    def accept_batch(
        self, body: bytes, *, source: str, received_at_ms: int, signals: Signals = NO_SIGNALS
    ) -> Acceptance:
        """Accept `{"batch": [...]}`; what the body says beside it about consent holds for events that say nothing.

        `signals` is what the request says for all of its events.
        """
        limits = self.limits
        check_batch_size(body, max_bytes=limits.max_batch_bytes)
        body = checked_text(body)
        opened = open_batch(body, max_events=limits.max_batch_events, max_depth=limits.max_depth)
        scope = self._combiner.scope(source, opened.default, signals)
        clock = Clock(received_at_ms, opened.sent_ms)
        accepted = read_uniform(body, opened, scope, clock, limits)
        if accepted is not None:
            return accepted
        check_own_keys(body, opened)
        return self._one_by_one(opened.events, scope, clock)

    def accept_single(
        self, body: bytes, *, type: str, source: str, received_at_ms: int, signals: Signals = NO_SIGNALS
    ) -> Acceptance:
        """Accept the body of `/v1/track` and its like: one event, whose `type` the address tells."""
        limits = self.limits
        body = checked_text(body)
        scope, clock = self._combiner.scope(source, _TOLD_NOTHING, signals), Clock(received_at_ms)
        plain = read_plain(body, type, scope, clock, limits)
        if plain is not None:
            return plain
        accepted = self._one_by_one([body], scope, clock, kind=type)
        for rejection in accepted.rejected:
            if rejection.reason in (Reason.NOT_JSON, Reason.NOT_OBJECT):
                raise BodyRefused(rejection.reason.name.lower(), f"the body is {rejection.text}")
        return accepted

    def accept_singles(
        self, bodies: Sequence[bytes], *, types: Sequence[str], source: str, received_at_ms: int
    ) -> Acceptance | None:
        """Accept the bodies of several requests to `/v1/track` and its like at once, of which none is odd.

        None when one is: then each of them is one for `accept_single`, which would accept the others as this does.
        """
        limits = self.limits
        if max(map(len, bodies)) > limits.max_event_bytes:
            return None
        scope, clock = self._combiner.scope(source, _TOLD_NOTHING), Clock(received_at_ms)
        if len(bodies) == 1:
            return read_plain(bodies[0], types[0], scope, clock, limits) if is_text(bodies[0]) else None
        accepted = read_together(bodies, scope, clock, limits)
        if accepted is None or any([c.type != type_ for c, type_ in zip(accepted.batch.combos, types, strict=True)]):
            return None
        return accepted

    def accept_events(
        self, events: Sequence[bytes], *, consent: Mapping[str, bool] | None, source: str, received_at_ms: int
    ) -> Acceptance:
        """Accept events from an actor message; `consent` holds for events that tell nothing about it."""
        limits = self.limits
        if len(events) > limits.max_batch_events:
            text = f"a message may have {limits.max_batch_events} events (max_batch_events)"
            raise BodyRefused("too_many", text, status=413)
        default = Told(Parts(consent=b"" if consent is None else msgspec.json.encode(consent)))
        scope = self._combiner.scope(source, default)
        clock = Clock(received_at_ms)
        together = read_together(events, scope, clock, limits) if events else None
        return together or self._one_by_one(events, scope, clock)

    def _one_by_one(
        self, events: Sequence[bytes], scope: Scope, clock: Clock, *, kind: str | None = None
    ) -> Acceptance:
        accepted = Acceptance(EventBatch())
        batch = accepted.batch
        for index, raw in enumerate(events):
            try:
                taken = self._single.read(raw, scope, clock, kind=kind)
            except BadEvent as bad:
                accepted.rejected.append(Rejection(index, bad.message_id, bad.reason, bad.reason.within(self.limits)))
                continue
            batch.combos.append(taken.combined.combo)
            batch.message_ids.append(taken.message_id)
            batch.user_ids.append(taken.user_id)
            batch.anonymous_ids.append(taken.anonymous_id)
            batch.times_ms.append(taken.time_ms)
            batch.events.append(taken.event)
            batch.n_bytes += len(taken.event)
            accepted.malformed_consent += taken.combined.malformed
        return accepted

"""Whether a client gets on with what it sends and reads: the deadline and the pace of one connection."""

from __future__ import annotations

from sluicegate.gateway.answer import Answer, refusal
from sluicegate.gateway.fields import head_too_large, malformed
from sluicegate.gateway.limits import MAX_CHUNK_OVERHEAD_BYTES, Limits
from sluicegate.gateway.phase import Phase


class Watch:
    """The clock of one connection; a request that arrives in one piece sets none. `now` is the loop's time."""

    __slots__ = ("_limits", "_timed_body_bytes", "deadline", "fed", "raw", "since", "timed")

    def __init__(self, limits: Limits) -> None:
        self.deadline = 0.0
        """When the client must have got on."""
        self.since = 0.0
        """When the phase that is timed began, or the client ceased to read."""
        self.timed: Phase | None = None
        """The phase that the deadline is for, if a request is being read."""
        self.raw = 0
        """Bytes that came in this phase, whatever they stood for."""
        self.fed = 0
        """Those of them in the newest piece."""
        self._timed_body_bytes = 0
        self._limits = limits

    def incomplete(self, phase: Phase, body_bytes: int, now: float) -> Answer | None:
        """A request is incomplete after a read: see that it gets on; the answer when it has too much around it."""
        limits = self._limits
        if self.timed is not phase:
            self.timed = phase
            self.begin_anew(phase, now)
            self._timed_body_bytes = body_bytes
            self.raw = self.raw + self.fed if phase is Phase.HEAD else 0
        else:
            self.raw += self.fed
        if phase is Phase.HEAD:
            return head_too_large(limits) if self.raw > limits.max_head_bytes else None
        overhead_bytes = self.raw - (body_bytes - self._timed_body_bytes)
        if overhead_bytes > MAX_CHUNK_OVERHEAD_BYTES + body_bytes // 8:
            return malformed("send the body in larger chunks, without extensions and trailers")
        return None

    def begin_anew(self, phase: Phase, now: float) -> None:
        """Give a request that is being read its whole time from now on: until now nobody read from its client."""
        if self.timed is phase:
            self.since = now
            limits = self._limits
            self.deadline = now + (limits.head_timeout_s if phase is Phase.HEAD else limits.body_timeout_s)

    def too_slow(self, phase: Phase, body_bytes: int, now: float) -> Answer | None:
        """The answer to a request that does not get on, if that is so."""
        late = now > self.deadline
        if late and phase is Phase.HEAD:
            return refusal(408, "timeout", "the request header did not arrive in time", close=True)
        if late and phase is Phase.BODY:
            return refusal(408, "timeout", "the request body did not arrive in time", close=True)
        if phase is Phase.BODY and self.timed is Phase.BODY:
            elapsed, limits = now - self.since, self._limits
            if elapsed > limits.body_grace_s and max(self.raw, body_bytes) < limits.min_body_rate * elapsed:
                return refusal(408, "too_slow", "the body arrives too slowly", close=True)
        return None

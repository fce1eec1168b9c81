"""What is decoded of several events in which nothing is odd, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from sluicegate.acceptance.combining import More
from sluicegate.acceptance.head import (
    ABSENT,
    StrictBatch,
    StrictHead,
    WideBatch,
    WideContext,
    WideHead,
    contexts_decoded,
    said,
)
from sluicegate.acceptance.repeats import BACKSLASH, ESCAPED_LETTER, MORE_NAMES
from sluicegate.acceptance.verdict import BadEvent, Reason

Id = str | int | UnsetType | None
"""As decoded: UNSET when the event does not have it."""

_NO_CONTEXT = WideContext()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_BATCHES: tuple[msgspec.json.Decoder[Any], ...] = (msgspec.json.Decoder(StrictBatch), msgspec.json.Decoder(WideBatch))
_EVENTS: tuple[msgspec.json.Decoder[Any], ...] = (msgspec.json.Decoder(StrictHead), msgspec.json.Decoder(WideHead))


class Columns(NamedTuple):
    """The members of `StrictHead` and `WideHead`, in their order."""

    kinds: Sequence[str]
    message_ids: Sequence[str]
    moments: Sequence[datetime]
    user_ids: Sequence[Id]
    anonymous_ids: Sequence[Id]
    names: Sequence[str | None]
    sent_at: Sequence[str | None]
    received_at: Sequence[Raw]
    contexts: Sequence[WideContext | UnsetType]
    consents: Sequence[Raw]
    integrations: Sequence[Raw]
    gdpr_consents: Sequence[Raw | UnsetType]

    @property
    def whole_contexts(self) -> Sequence[WideContext]:
        """The contexts, with an empty one in the place of those that are not there."""
        contexts: Any = self.contexts if all(self.contexts) else [one or _NO_CONTEXT for one in self.contexts]
        return contexts  # type: ignore[no-any-return]

    def more(self, contexts: Sequence[WideContext], text: bytes) -> list[More] | None:
        """What only few events have, None when no event has any of it; raises `BadEvent` when it may be there twice."""
        if self.gdpr_consents[0] is UNSET:  # then they were decoded as those that have none of it
            return None
        columns: Any = (
            [one.tcf for one in contexts],
            self.gdpr_consents,
            [one.gpc for one in contexts],
            [one.jurisdiction for one in contexts],
        )
        for name, column in zip(MORE_NAMES, columns, strict=True):
            if text.count(name) != len(column) - column.count(ABSENT):
                raise BadEvent(Reason.DUPLICATE_KEY)
        return [More(*map(said, row)) for row in zip(*columns, strict=True)]


def of_batch(body: bytes) -> Columns | None:
    """The columns of the events of a batch body, if none is odd and none has two contexts."""
    return _decoded(body, _BATCHES, lambda decoder: decoder.decode(body).batch)


def of_events(events: Sequence[bytes], text: bytes) -> Columns | None:
    """The same of events that lie apart, and which `text` has together: each must be one JSON object, and no more."""
    return _decoded(text, _EVENTS, lambda decoder: list(map(decoder.decode, events)))


def _decoded(
    text: bytes,
    decoders: Sequence[msgspec.json.Decoder[Any]],
    decode: Callable[[msgspec.json.Decoder[Any]], list[StrictHead]],
) -> Columns | None:
    if BACKSLASH in text and ESCAPED_LETTER.search(text):
        return None
    for decoder in decoders:
        before = next(contexts_decoded)
        try:
            heads = decode(decoder)
        except _UNREADABLE:
            continue
        n_decoded = next(contexts_decoded) - before - 1
        columns = Columns(*zip(*map(astuple, heads), strict=True))
        return columns if n_decoded == len(heads) - columns.contexts.count(UNSET) else None
    return None

"""How consent comes in besides the events: what a request says for all of its events, and what counts here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from sluicegate.config.model import ConsentConfig, PurposesConfig
from sluicegate.consent.gpc import is_set
from sluicegate.consent.policy import Policies

logger = logging.getLogger(__name__)

GPC, DNT, COOKIE = b"sec-gpc", b"dnt", b"cookie"
_C15T = b"c15t="


class Signals(NamedTuple):
    """What a request says about its visitor beside its body."""

    gpc: bool = False
    """Global Privacy Control, or Do Not Track where that is honoured."""
    place: str = ""
    """The jurisdiction, as the configuration lists it."""
    cookie: bytes = b""
    """The cookies, if c15t's is among them."""


NO_SIGNALS = Signals()


class Ways:
    """What the configuration says about how consent is read."""

    def __init__(self, purposes: PurposesConfig | None = None, consent: ConsentConfig | None = None) -> None:
        purposes, consent = purposes or PurposesConfig(), consent or ConsentConfig()
        self.aliases = purposes.aliases
        self.vendors = purposes.vendors
        self.purposes = frozenset(purposes.stored)
        self.policies = Policies(consent)
        self.gpc_purposes = consent.gpc_purposes
        self.notes_unasked = consent.allow_unasked
        """Whether it is kept of an event that it says nothing at all."""
        self._refused_by: set[str] = set()
        self._honors_dnt = consent.honor_dnt
        self._place_header = consent.jurisdiction_header.encode()
        names = {COOKIE}
        if self.policies.any_honors_gpc:
            names |= {GPC, DNT} if self._honors_dnt else {GPC}
        if self._place_header:
            names.add(self._place_header)
        self.headers = frozenset(names)
        """The header fields, in lower case, that say something here."""

    def signals(self, headers: Mapping[bytes, bytes]) -> Signals:
        """What these header fields say; a field that came several times is its values with commas between."""
        if headers.keys().isdisjoint(self.headers):
            return NO_SIGNALS
        cookie = headers.get(COOKIE, b"")
        place = headers.get(self._place_header) if self._place_header else None
        return Signals(
            is_set(self._values(headers)),
            "" if place is None else self.policies.place(header=place.decode("latin-1")),
            cookie if _C15T in cookie else b"",
        )

    def _values(self, headers: Mapping[bytes, bytes]) -> list[bytes]:
        names = (GPC, DNT) if self._honors_dnt else (GPC,)
        return [headers[name] for name in names if name in headers]

    def note_refusal(self, source: str) -> None:
        """Say once of a source that its events refuse what cannot be refused."""
        if source not in self._refused_by:
            self._refused_by.add(source)
            logger.info("consent refuses the purpose necessary, which has no effect: source=%s", source)

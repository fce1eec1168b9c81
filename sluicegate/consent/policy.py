"""Which law an event falls under: whether silence means no, and whether Global Privacy Control counts."""

from __future__ import annotations

import re
from typing import NamedTuple

from sluicegate.config.model import ConsentConfig, ConsentModel, HonorGpc

EVERYWHERE_ELSE = "*"
"""The jurisdiction that stands for all that have no entry of their own."""


UNLISTED = "?"
"""Stands for a jurisdiction that is not listed, and for one that nobody knows."""

_PLACE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_NOWHERE = frozenset({"XX", "ZZ"})
"""What CDNs say when they do not know it."""


class Policy(NamedTuple):
    """What silence means, and whether Global Privacy Control denies."""

    model: ConsentModel
    honors_gpc: bool


class Policies:
    """Chooses the policy of an event.

    The jurisdiction that the event names counts, else the one in the trusted header, else the configured default. A
    jurisdiction is a country or one of its parts, as in ISO 3166-2: `US-CA` is looked for, then `US`, then `*`. What is
    not found so, what is no jurisdiction, and a trusted header that is empty or missing, is opt-in.
    """

    def __init__(self, config: ConsentConfig) -> None:
        self._models = {name.upper(): model for name, model in config.jurisdictions.items()}
        self._has_header = bool(config.jurisdiction_header)
        self._policies = {model: Policy(model, _honors(config.honor_gpc, model)) for model in ConsentModel}
        self._default = self._policies[ConsentModel.OPT_IN if self._has_header else config.model]
        models = {self._default.model, *config.jurisdictions.values()}
        self.any_honors_gpc = any(self._policies[model].honors_gpc for model in models)
        self.any_opt_out = ConsentModel.OPT_OUT in models
        """Whether silence can mean yes anywhere."""

    def of(self, *, event_says: object = None, header: str | None = None) -> Policy:
        """The policy of an event; `event_says` may be anything that a client sends."""
        return self.of_place(self.place(event_says=event_says, header=header))

    def place(self, *, event_says: object = None, header: str | None = None) -> str:
        """The jurisdiction of an event as it is listed, `UNLISTED`, or empty when none was told: one of few texts."""
        if isinstance(event_says, str) and event_says.strip():
            return self._listed(event_says)
        return self._listed(header) if self._has_header and header else ""

    def of_place(self, place: str) -> Policy:
        """The policy of a place; one that is not listed any more is opt-in."""
        return self._policies[self._models.get(place, ConsentModel.OPT_IN)] if place else self._default

    def _listed(self, name: str) -> str:
        name = name.strip().upper()
        if not _PLACE.fullmatch(name) or name in _NOWHERE:
            return UNLISTED
        for place in (name, name.partition("-")[0], EVERYWHERE_ELSE):
            if place in self._models:
                return place
        return UNLISTED


def _honors(choice: HonorGpc, model: ConsentModel) -> bool:
    return choice is HonorGpc.ALWAYS or (choice is HonorGpc.OPT_OUT and model is ConsentModel.OPT_OUT)

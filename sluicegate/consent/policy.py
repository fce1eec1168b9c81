"""Which law an event falls under: whether silence means no, and whether Global Privacy Control counts."""

from __future__ import annotations

from typing import NamedTuple

from sluicegate.config.model import ConsentConfig, ConsentModel, HonorGpc

EVERYWHERE_ELSE = "*"
"""The jurisdiction that stands for all that have no entry of their own."""


class Policy(NamedTuple):
    """What silence means, and whether Global Privacy Control denies."""

    model: ConsentModel
    honors_gpc: bool


class Policies:
    """Chooses the policy of an event.

    The jurisdiction that the event names counts, else the one in the trusted header, else the configured default. A
    jurisdiction is a country or one of its parts, as in ISO 3166-2: `US-CA` is looked for, then `US`, then `*`. What is
    not found so, and a trusted header that is empty or missing, is opt-in.
    """

    def __init__(self, config: ConsentConfig) -> None:
        self._models = {name.upper(): model for name, model in config.jurisdictions.items()}
        self._has_header = bool(config.jurisdiction_header)
        self._policies = {model: Policy(model, _honors(config.honor_gpc, model)) for model in ConsentModel}
        self._default = self._policies[config.model]
        self.any_honors_gpc = any(
            self._policies[model].honors_gpc for model in {config.model, *config.jurisdictions.values()}
        )

    def of(self, *, event_says: object = None, header: str | None = None) -> Policy:
        """The policy of an event; `event_says` may be anything that a client sends."""
        if isinstance(event_says, str) and event_says.strip():
            return self._of_name(event_says)
        if not self._has_header:
            return self._default
        return self._of_name(header or "")

    def _of_name(self, name: str) -> Policy:
        name = name.strip().upper()
        for place in (name, name.partition("-")[0]) if name else ():
            if place in self._models:
                return self._policies[self._models[place]]
        elsewhere = self._models.get(EVERYWHERE_ELSE, ConsentModel.OPT_IN) if name else ConsentModel.OPT_IN
        return self._policies[elsewhere]


def _honors(choice: HonorGpc, model: ConsentModel) -> bool:
    return choice is HonorGpc.ALWAYS or (choice is HonorGpc.OPT_OUT and model is ConsentModel.OPT_OUT)

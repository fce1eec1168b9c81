"""Consent as an operator names it, in the purposes of the configuration."""

from __future__ import annotations

from collections.abc import Mapping

from sluicegate.config.model import PurposesConfig
from sluicegate.config.problems import did_you_mean
from sluicegate.errors import Refused


def named_consent(consent: Mapping[str, bool], purposes: PurposesConfig) -> dict[str, bool]:
    """The same by the purposes that the names stand for; of two for the same purpose the denial counts.

    Raises `Refused` for a name that is neither a purpose nor an alias of one: it would grant nothing, silently.
    """
    found: dict[str, bool] = {}
    for name, granted in consent.items():
        purpose = purposes.resolve(name)
        if purpose not in purposes.stored:
            hint = did_you_mean(name, (*purposes.known, *purposes.aliases))
            raise Refused(f"{name!r} is no purpose of this configuration; {hint}")
        found[purpose] = granted and found.get(purpose, True)
    return found

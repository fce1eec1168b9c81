"""From a configured destination to a plugin instance that is ready to deliver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.config.secret import Secret
from sluicegate.config.settings import effective_limits, settings_for
from sluicegate.destinations.base import Context, Destination
from sluicegate.destinations.registry import load_type
from sluicegate.errors import CredentialsRefused, NotReady
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.routing import Decision, decide

MAX_ERROR_CHARS = 500
MAX_RESPONSE_CHARS = 2_000
MIN_SECRET_CHARS = 4
"""Shorter ones are not masked in texts: the mask would hit everything and hide nothing."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A destination's instance with what the engine needs to know about it."""

    instance: Destination
    limits: Limits
    permits: Callable[[Combo], str | None]
    """A combination to None when the destination may have it, else the reason why not."""
    mask: Mask


class Mask:
    """Shortens texts and takes secrets and control characters out of them."""

    def __init__(self, secrets: Iterator[str]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= MIN_SECRET_CHARS}, key=len, reverse=True)

    def __call__(self, text: str, *, max_chars: int = MAX_ERROR_CHARS) -> str:
        """The text as one line, without secrets, in at most so many characters."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = self._without_cut_secret(text)
        text = "".join(c if c.isprintable() else " " for c in text)
        return text if len(text) <= max_chars else text[: max_chars - 1] + "…"

    def _without_cut_secret(self, text: str) -> str:
        """The text, without the beginning of a secret at its end: it may have been cut there."""
        for secret in self._secrets:
            for length in range(len(secret) - 1, MIN_SECRET_CHARS - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + "***"
        return text


def make_plugin(destination: DestinationConfig, data_dir: DataDir) -> Plugin:
    """Import the type, check settings, make the instance; raises `NotReady`, `CredentialsRefused`, `ConfigError`."""
    kind = load_type(destination.type)
    settings = settings_for(destination.type, destination.settings, kind.settings_type)
    limits = effective_limits(destination, settings.limits)
    mask = Mask(secrets_in(settings))
    context = Context(destination.id, limits, destination.timeout_s, data_dir.root)
    try:
        instance = kind(settings, context)
    except (NotReady, CredentialsRefused):
        raise
    except Exception as error:
        raise NotReady(mask(f"{kind.__name__} cannot be made: {type(error).__name__}: {error}")) from error
    return Plugin(instance, limits, permits_of(destination, type(settings)), mask)


def permits_of(destination: DestinationConfig, settings_type: type[Settings]) -> Callable[[Combo], str | None]:
    """The decision about a combination: what the configuration requires, then what the type always requires."""
    configs = [destination]
    if settings_type.requires:
        configs.append(replace(destination, requires=Requirement(tuple(settings_type.requires))))

    def permits(combo: Combo) -> str | None:
        decisions = (decide(combo, config) for config in configs)
        return next((str(decision) for decision in decisions if decision is not Decision.ALLOW), None)

    return permits


def secrets_in(value: Any) -> Iterator[str]:
    """The texts of all secrets in settings."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from secrets_in(item)


def error_text(error: BaseException) -> str:
    """An exception as one text: what was said on purpose as it is, anything else with its kind."""
    text = str(error)
    if type(error).__module__ == "sluicegate.errors" and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""From a configured destination to a plugin instance that is ready to deliver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sluicegate import masking
from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.config.secrets import secrets_in, web_secrets
from sluicegate.config.settings import effective_limits, settings_for
from sluicegate.delivery.mapped import Mapped
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.registry import load_type
from sluicegate.errors import CredentialsRefused, NotReady
from sluicegate.event import Combo
from sluicegate.mapping.changes import Changes
from sluicegate.paths import DataDir
from sluicegate.routing import Decision, decide

MAX_ERROR_CHARS = 500
MAX_RESPONSE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Plugin:
    """A destination's instance with what the engine needs to know about it."""

    instance: Destination
    limits: Limits
    permits: Callable[[Combo], str | None]
    """A combination to None when the destination may have it, else the reason why not."""
    mask: Mask
    changes: Changes | None = None
    """What the configuration changes about events on their way, None for nothing."""

    @property
    def deliver(self) -> Callable[[Batch], object]:
        """`deliver` of the instance, behind the changes if there are any."""
        deliver = self.instance.deliver
        return deliver if self.changes is None else Mapped(deliver, self.changes, max_bytes=self.limits.max_bytes)


class Mask(masking.Mask):
    """Shortens texts and takes secrets and control characters out of them."""

    def __call__(self, text: str, *, max_chars: int = MAX_ERROR_CHARS) -> str:
        """The text as one line, without secrets, in at most so many characters."""
        text = super().__call__(masking.hidden(text))
        text = "".join(c if c.isprintable() else " " for c in text)
        return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def make_plugin(destination: DestinationConfig, data_dir: DataDir) -> Plugin:
    """Import the type, check settings, make the instance; raises `NotReady`, `CredentialsRefused`, `ConfigError`."""
    kind = load_type(destination.type)
    settings = settings_for(destination.type, destination.settings, kind.settings_type)
    limits = effective_limits(destination, settings.limits)
    secrets = [*secrets_in(settings), *web_secrets(destination.settings)]
    masking.hide(secrets)
    mask = Mask(secrets)
    context = Context(destination.id, limits, destination.timeout_s, data_dir.root, destination.network)
    try:
        instance = kind(settings, context)
    except (NotReady, CredentialsRefused):
        raise
    except Exception as error:
        raise NotReady(mask(f"{kind.__name__} cannot be made: {type(error).__name__}: {error}")) from error
    changes = Changes(destination.map) if destination.map else None
    return Plugin(instance, limits, permits_of(destination, type(settings)), mask, changes)


def permits_of(destination: DestinationConfig, settings_type: type[Settings]) -> Callable[[Combo], str | None]:
    """The decision about a combination: what the configuration requires, then what the type always requires."""
    effective = replace(destination, requires=required_of(destination, settings_type))

    def permits(combo: Combo) -> str | None:
        decision = decide(combo, effective)
        return None if decision is Decision.ALLOW else str(decision)

    return permits


def required_of(destination: DestinationConfig, settings_type: type[Settings]) -> Requirement:
    """What the configuration and the type require together; the configuration alone where it says so."""
    if destination.override_plugin_consent:
        return destination.requires
    return destination.requires.joined(settings_type.requires)


def error_text(error: BaseException) -> str:
    """An exception as one text without secrets: what was said on purpose as it is, anything else with its kind."""
    text = masking.hidden(str(error))
    if type(error).__module__ == "sluicegate.errors" and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Configuration: TOML in, checked settings out.

The readers are imported at first use: every actor process imports the models below this package, and only the launcher
and the scripts read files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sluicegate.config.model import (
    BUILT_IN_PURPOSES,
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    LogConfig,
    PurposesConfig,
    Requirement,
    SupervisorConfig,
)
from sluicegate.config.secret import Secret

if TYPE_CHECKING:
    from sluicegate.config.embedded import embedded_config, kept_embedded_config
    from sluicegate.config.reader import DEFAULT_FILE, find_data_dir, load
    from sluicegate.config.sample import template
    from sluicegate.config.settings import effective_limits, settings_for

__all__ = [
    "BUILT_IN_PURPOSES",
    "DEFAULT_FILE",
    "Config",
    "ConsentConfig",
    "DestinationConfig",
    "GatewayConfig",
    "LogConfig",
    "PurposesConfig",
    "Requirement",
    "Secret",
    "SupervisorConfig",
    "effective_limits",
    "embedded_config",
    "find_data_dir",
    "kept_embedded_config",
    "load",
    "settings_for",
    "template",
]

_HOMES = {
    "DEFAULT_FILE": "reader",
    "effective_limits": "settings",
    "embedded_config": "embedded",
    "find_data_dir": "reader",
    "kept_embedded_config": "embedded",
    "load": "reader",
    "settings_for": "settings",
    "template": "sample",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value

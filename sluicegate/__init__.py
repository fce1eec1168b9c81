"""Sluicegate: a self-hosted, consent-aware router for analytics events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.version import __version__

if TYPE_CHECKING:
    from sluicegate.client import Client

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> object:
    # Client pulls in the actor library, which plugins and tools that import the package do not need.
    if name == "Client":
        from sluicegate.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

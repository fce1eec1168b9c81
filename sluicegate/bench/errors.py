"""What can go wrong with a measurement itself."""

from __future__ import annotations

from sluicegate.errors import SluicegateError


class BenchError(SluicegateError):
    """The measurement could not be made; the text says which part failed, and how."""

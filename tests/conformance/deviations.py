"""Where we differ from an oracle on purpose, by destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.conformance.runner import Deviation

DEVIATIONS: Mapping[str, Sequence[Deviation]] = {}

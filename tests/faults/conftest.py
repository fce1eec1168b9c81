from __future__ import annotations

from tests.destinations.conftest import raw_server
from tests.end_to_end.conftest import receiver, system

__all__ = ["raw_server", "receiver", "system"]

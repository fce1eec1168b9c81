from __future__ import annotations

from tests.end_to_end.conftest import receiver, system

__all__ = ["receiver", "system"]

"""What destinations and sources may be called."""

from __future__ import annotations

import re

ID_RULE = "use a to z, 0 to 9, - and _, at most 64, with a letter or digit first"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_id(text: str) -> bool:
    """Whether this may name a destination or a source; such a name is safe as a file name and in URLs."""
    return _ID.fullmatch(text) is not None

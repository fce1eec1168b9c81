"""The executable model of the rules, for comparison; it lies beside the repository and not in it."""

from __future__ import annotations

import contextlib
import io
import runpy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[3] / "shared" / "consent_model.py"

needs_model = pytest.mark.skipif(not PATH.exists(), reason="the model of the consent rules is not beside this clone")


@lru_cache(maxsize=1)
def model() -> dict[str, Any]:
    """What the model defines; running it checks it."""
    with contextlib.redirect_stdout(io.StringIO()):
        return runpy.run_path(str(PATH))

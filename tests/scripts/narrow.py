from __future__ import annotations

import os
import subprocess
import sys

from tests.end_to_end.harness import System


def narrow_admin(running: System, *arguments: str) -> str:
    """What a command prints on a terminal of 80 columns."""
    environ = {**os.environ, "COLUMNS": "80", "SLUICEGATE_CONFIG": str(running.config_path)}
    command = [sys.executable, "-m", "sluicegate.scripts.admin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=True, timeout=60).stdout

"""`sluicegate` with a launcher that soon takes a part that does not answer for hung.

It starts nothing again while there is a file `HOLD` in its directory, so that a test can look at what is between.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from sluicegate.scripts import admin, launcher
from sluicegate.scripts.pulse import Patience

PROGRAM = (__file__,)
HUNG_AFTER_S = 3.0
PATIENCE = Patience(every_s=0.2, answer_s=HUNG_AFTER_S / 2, first_answer_s=5.0, misses=2, step_s=0.1)
HOLD = "hold"


class ImpatientLauncher(launcher.Launcher):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, patience=PATIENCE)

    def _revive(self, ended: set[int]) -> None:
        while Path(HOLD).exists():
            time.sleep(0.02)
        super()._revive(ended)


if __name__ == "__main__":
    sys.path.pop(0)  # of this file's folder, whose modules are not meant
    launcher.Launcher = ImpatientLauncher  # type: ignore[misc]
    admin.main()

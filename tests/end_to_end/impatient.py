"""`sluicegate` with a launcher that soon takes a part that does not answer for hung."""

from __future__ import annotations

import functools
import sys

from sluicegate.scripts import admin, launcher
from sluicegate.scripts.pulse import Patience

PROGRAM = (__file__,)
HUNG_AFTER_S = 3.0
PATIENCE = Patience(every_s=0.2, answer_s=HUNG_AFTER_S / 2, first_answer_s=5.0, misses=2, step_s=0.1)

if __name__ == "__main__":
    sys.path.pop(0)  # of this file's folder, whose modules are not meant
    launcher.Launcher = functools.partial(launcher.Launcher, patience=PATIENCE)  # type: ignore[misc,assignment]
    admin.main()

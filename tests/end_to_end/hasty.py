"""`sluicegate` with a launcher that soon ceases to wait for the system to be ready."""

from __future__ import annotations

import sys

from sluicegate.scripts import admin, launcher

PROGRAM = (__file__,)

if __name__ == "__main__":
    sys.path.pop(0)  # of this file's folder, whose modules are not meant
    launcher.READY_S = 0.5
    admin.main()

"""Standard input, output and error of a command, which whoever starts it may have closed."""

from __future__ import annotations

import io
import os
import sys

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_standard_files() -> None:
    """Have all three, and one that can say everything.

    A file or socket that is opened later would take the number of a closed one, and get what is printed. What a
    terminal cannot show is said as its code, as standard error does by itself: what was done is to be told.
    """
    for name, mode in _MODES.items():  # in the order of their numbers: what is opened takes the lowest that is free
        if getattr(sys, name) is None:
            file = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115  (for as long as the process runs)
            os.set_inheritable(file.fileno(), True)
            setattr(sys, name, file)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")

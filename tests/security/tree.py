from __future__ import annotations

from sluicegate.actors.processes import processes


def tree(root: int) -> list[int]:
    """The pids of a process and of all that live below it."""
    everything = [process for process in processes() if not process.zombie]
    pids = {root}
    while more := {process.pid for process in everything if process.parent in pids} - pids:
        pids |= more
    return sorted(pids)

"""A launcher as a program: starts a system with a parent and its child, prints the pids, then does as told."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sluicegate.actors import processes
from sluicegate.actors.system import start
from tests.actors.doubles import Parent, Spawn


def main() -> None:
    port, key, log_path, then = sys.argv[1:]
    system = start(port=int(port), key=bytes.fromhex(key), log_path=Path(log_path))
    parent = system.create(Parent, global_name="parent")
    system.ask(parent, Spawn("1"), timeout_s=5)
    print(*[process.pid for process in processes.tree(system.admin_pid)], flush=True)
    if then == "stop":
        system.stop()
    elif then == "wait":
        time.sleep(3600)


if __name__ == "__main__":
    main()

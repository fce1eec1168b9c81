"""F40, F42: little memory, and no more processes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.faults.programs import ROOT
from tests.faults.record import Skip
from tests.faults.scenario import Run, fault

ADDRESS_SPACE_BYTES = 256 * 1024 * 1024
BACKLOG_BYTES = 1_000_000_000
BACKLOG_S = 120.0
"""For a gigabyte that waits, beyond which nothing may be pending: 25 s on two idle cores."""
FIRST_UID = 61_000
"""Numbers of users that nobody has, from here on."""


@fault("F40", "256 MB of address space for each process, and a backlog")
def little_memory(run: Run) -> None:
    prlimit = shutil.which("prlimit") or no("prlimit (util-linux) is not installed")
    run.crm.set("crm", "slow", delay_s=0.05)  # so that it gets several calls at a time, each of which is a thread
    run.start(wrapper=[prlimit, f"--as={ADDRESS_SPACE_BYTES}"])
    limits = {resource.prlimit(part.pid, resource.RLIMIT_AS)[0] for part in run.parts()}
    assert limits == {ADDRESS_SPACE_BYTES}, limits
    run.command("pause", "crm")
    run.oracle.run(connections=8, pause_s=0)
    gather(run, run.pick(10_000_000, BACKLOG_BYTES))
    run.fired(f"prlimit --as={ADDRESS_SPACE_BYTES}")
    run.oracle.finish()
    run.record.figures["backlog_mb"] = round(backlog_bytes(run) / 1e6, 1)
    run.oracle.run()
    run.command("resume", "crm")
    run.settle(allowed_s=BACKLOG_S)
    run.check()
    failed = [line for line in run.system.log().splitlines() if "MemoryError" in line]
    assert not failed, f"{len(failed)} times there was no memory: {failed[:3]}"
    ended = [line for line in run.system.log().splitlines() if "ended unexpectedly" in line]
    assert not ended, ended


@fault("F42", "no more processes can be forked")
def no_processes(run: Run) -> None:
    uid, wrapper = another_user(run)
    run.start(wrapper=wrapper, environ={"HOME": str(run.folder)})
    supervisor = run.part("supervisor")
    allow_processes(supervisor.pid, 1, as_user=wrapper)
    run.oracle.run()
    run.oracle.more(100)
    failed = run.status("spawning to fail", lambda now: now["crm"].error and now["crm"])
    run.fired(f"fork refused to user {uid}: {failed.error}")
    assert failed.pid is None
    assert supervisor.alive, "the supervisor has ended"
    allow_processes(supervisor.pid, 10_000, as_user=wrapper)
    run.settle()
    run.check()


def gather(run: Run, n_bytes: int) -> None:
    """Let events come until so much of the log waits."""
    while backlog_bytes(run) < n_bytes:
        run.oracle.more(1_000, timeout_s=300)


def backlog_bytes(run: Run) -> int:
    """The size of the event log with what is not yet in its main file."""
    path = run.system.data_dir.event_log
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def allow_processes(pid: int, n_processes: int, *, as_user: list[str]) -> None:
    """Set how many processes its user may have for this process to fork one more."""
    prlimit = shutil.which("prlimit") or no("prlimit (util-linux) is not installed")
    subprocess.run([*as_user, prlimit, f"--pid={pid}", f"--nproc={n_processes}:"], check=True)


def another_user(run: Run) -> tuple[int, list[str]]:
    """A user without other processes, who is held to the limit, and the command that becomes it."""
    if os.getuid() != 0:
        return os.getuid(), []
    setpriv = shutil.which("setpriv") or no("setpriv (util-linux) is not installed")
    uid = FIRST_UID + os.getpid() % 4_000
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    run.adopt(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.chown(folder, uid, uid)
    run.folder = folder
    run.files["archive"] = folder / "data" / "archive.jsonl"
    command = [setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    if os.spawnv(os.P_WAIT, setpriv, [*command, "test", "-r", str(ROOT / "setup.cfg")]):
        no(f"another user cannot read {ROOT}")
    return uid, command


def no(reason: str) -> str:
    """Skip the scenario."""
    raise Skip(reason)

"""How long a system with a long backlog takes to start: to `/ready`, and to the first event at a destination.

python benchmarks/restart.py [--megabytes 1024] [--times 3] [--folder DIR]

The backlog is made once. Each start is ended by SIGKILL while events still come in, so every start but the first also
recovers the log's WAL. The last lines say what `fsck` takes, without and with a damaged row.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.running import find_running
from sluicegate.testing.batches import batch_of

EVENT = b'{"type":"track","event":"Order Completed","properties":{' + b'"property":"a value here",' * 18 + b'"last":1}}'
PER_ROW = 100
PATIENCE_S = 60.0

CONFIG = """\
data_dir = "{data_dir}"
[gateway]
listen = "127.0.0.1:0"
write_keys = {{ web = "a-write-key" }}
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "archive.jsonl"
[destinations.ads]
type = "null"
requires = ["marketing"]
"""


def fill(data_dir: DataDir, megabytes: int) -> int:
    """A log of so much that nobody has read; how many events it has."""
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["archive", "ads"], head=0)
    registry.close()
    batch = batch_of([EVENT] * PER_ROW)
    log._db.pragma("synchronous", "OFF")
    n_bytes = 0
    while n_bytes < megabytes << 20:
        log.append([batch] * 20, received_at_ms=time.time_ns() // 1_000_000)
        n_bytes += 20 * batch.n_bytes
    head = log.head()
    log.close()
    bell = Bell(data_dir.bell)
    bell.ring(head)
    bell.close()
    return head


def until(holds: Callable[[], object]) -> float:
    """The moment at which this first holds; looks every 2 ms."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if holds():
                return time.monotonic()
        except Exception:
            pass
        time.sleep(0.002)
    raise SystemExit("waited in vain")


class Start:
    """One start of the system, timed."""

    def __init__(self, config_path: Path, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        archive = data_dir.root / "archive.jsonl"
        archive.unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--config", str(config_path)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ready_s = until(self._ready) - began
        self.delivered_s = until(lambda: archive.exists() and archive.stat().st_size) - began

    def _ready(self) -> bool:
        running = find_running(self._data_dir)
        if running.pid != self.process.pid:
            return False
        with urllib.request.urlopen(f"http://{running.gateway}/ready", timeout=5) as response:
            return bool(response.status == 200)

    def kill(self) -> None:
        """The whole tree, as a power cut does for processes."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def append_until_killed(data_dir: DataDir, megabytes: int) -> int:
    """Let a process append and be killed, so that the next start finds a WAL; its size in bytes."""
    pid = os.fork()
    if pid == 0:
        registry, log = open_data(data_dir)
        batch = batch_of([EVENT] * PER_ROW)
        for _ in range((megabytes << 20) // batch.n_bytes):
            log.append([batch], received_at_ms=time.time_ns() // 1_000_000)
        os.kill(os.getpid(), signal.SIGKILL)
        del registry
    os.waitpid(pid, 0)
    return data_dir.event_log.with_name("events.db-wal").stat().st_size


def damage(data_dir: DataDir, offset: int) -> None:
    """Make the row that has this event unreadable."""
    log = SqliteLog(data_dir.event_log)
    first = log.read(offset - 1, max_events=1, max_bytes=1)[0].first
    log._db.execute("UPDATE rows SET seal = seal + 1 WHERE first = ?", (first,))
    log.close()


def fsck(data_dir: DataDir, *options: str) -> None:
    """Run the command and print how long it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "fsck", "--data-dir", str(data_dir.root), *options]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    print(f"{' '.join(['fsck', *options])} {time.monotonic() - began:.1f} s (exit code {code})")


def main() -> None:
    """Fill, start, kill, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        data_dir = DataDir(Path(folder) / "data")
        config_path = Path(folder) / "sluicegate.toml"
        config_path.write_text(CONFIG.format(data_dir=data_dir.root))
        head = fill(data_dir, options.megabytes)
        print(f"log: {data_dir.event_log.stat().st_size / 1e6:,.0f} MB, {head:,} events, nothing delivered")
        for number in range(options.times):
            wal = append_until_killed(data_dir, 12 + 2 * number)
            start = Start(config_path, data_dir)
            print(f"WAL {wal / 1e6:5.1f} MB  ready {start.ready_s:.2f} s  first delivery {start.delivered_s:.2f} s")
            start.kill()
            for name in (data_dir.stores / "archive.db",):  # the next start has everything before it again
                for suffix in ("", "-wal", "-shm"):
                    name.with_name(name.name + suffix).unlink(missing_ok=True)
        fsck(data_dir)
        damage(data_dir, head // 2)
        fsck(data_dir, "--repair")


if __name__ == "__main__":
    main()

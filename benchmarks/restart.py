"""How long a system with a long backlog takes to start: to `/ready`, to the first event that it accepts, and to the
first one at a destination.

python benchmarks/restart.py [--megabytes 1024] [--times 3] [--says nothing|refused] [--folder DIR]

The backlog is made once, of events that differ in everything and cannot be compressed, until the log has that size on
the disk. One destination may have all of them. The other may have none, because they say nothing about marketing (it
holds those that fit, and looks at the ledger for each) or refuse it: the first start has to look at all for its sake.
Each start is ended by SIGKILL while events still come in, so every start also recovers the log's WAL. The last lines
say what `fsck` takes, without and with a damaged row.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from sluicegate.bench.measure import started, tree
from sluicegate.config.model import LogConfig
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.running import find_running
from sluicegate.testing.batches import add_event

WRITE_KEY = "a-write-key"
SAYS = {"nothing": (), "refused": (("marketing", False), ("necessary", True))}
RANDOM_BYTES = 300  # 400 characters, of which a compressor saves a quarter
PER_BATCH = 100
BATCHES_PER_APPEND = 20
ONE = b'{"type":"track","event":"Looked","anonymousId":"a"}'
PATIENCE_S = 120.0

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


def new_batch(says: str) -> EventBatch:
    """Events of different people, with new ids and properties that look random."""
    batch, combo = EventBatch(), Combo("track", "web", SAYS[says])
    context = json.dumps({"consent": {"categoryPreferences": dict(combo.stamp)}} if combo.stamp else {}).encode()
    noise = os.urandom(PER_BATCH * RANDOM_BYTES)
    for at in range(0, len(noise), RANDOM_BYTES):
        token = base64.b64encode(noise[at : at + RANDOM_BYTES])
        message_id, visitor = str(uuid.UUID(bytes=noise[at : at + 16])), noise[at + 16 : at + 32].hex()
        event = (
            b'{"type":"track","event":"Order Completed","messageId":"%s","anonymousId":"%s",'
            b'"properties":{"token":"%s"},"context":%s}' % (message_id.encode(), visitor.encode(), token, context)
        )
        add_event(batch, event, message_id=message_id, combo=combo, anonymous_id=visitor, time_ms=now_ms())
    return batch


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def fill(data_dir: DataDir, megabytes: int, says: str) -> tuple[int, int]:
    """A log of this size on the disk that nobody has read; how many events it has, and of how many bytes."""
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["archive", "ads"], head=0)
    registry.close()
    log.close()
    log = SqliteLog(data_dir.event_log, create=False, seen=SeenIds.of(LogConfig()))  # as the gateway has it
    log._db.pragma("synchronous", "OFF")
    n_bytes = 0
    while log.used_bytes() < megabytes << 20:
        batches = [new_batch(says) for _ in range(BATCHES_PER_APPEND)]
        log.append(batches, received_at_ms=now_ms())
        n_bytes += sum(batch.n_bytes for batch in batches)
        if log.needs_maintenance:
            log.maintain()
    log.maintain()
    head = log.head()
    log.close()
    bell = Bell(data_dir.bell)
    bell.ring(head)
    bell.close()
    return head, n_bytes


def moments(what: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """For each of these the moment at which it first held; each is looked at every 2 ms, in a thread of its own."""

    def until(holds: Callable[[], object]) -> float:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(Exception):
                if holds():
                    return time.monotonic()
            time.sleep(0.002)
        raise SystemExit("waited in vain")

    with ThreadPoolExecutor() as pool:
        return dict(zip(what, pool.map(until, what.values()), strict=True))


class Start:
    """One start of the system, timed."""

    def __init__(self, config_path: Path, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        archive = data_dir.root / "archive.jsonl"
        archive.unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "sluicegate.scripts.admin", "serve", "--config", str(config_path)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = moments(
            {
                "ready": lambda: self._answers("/ready"),
                "accepted": lambda: self._answers("/v1/track", ONE),
                "delivered": lambda: archive.stat().st_size,
            }
        )
        self.seconds = {name: moment - began for name, moment in found.items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {self.seconds[name]:.2f} s" for name in ("ready", "accepted", "delivered"))

    def _answers(self, path: str, body: bytes | None = None) -> bool:
        running = find_running(self._data_dir)
        if running.pid != self.process.pid:
            return False
        key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{running.gateway}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)

    def kill(self) -> None:
        """The whole tree, as a power cut does for processes; returns when nothing of it can write any more."""
        members = {pid: started(pid) for pid in tree(self.process.pid)}
        self.process.kill()
        self.process.wait()
        while any(started(pid) == at for pid, at in members.items()):
            time.sleep(0.002)


def append_until_killed(data_dir: DataDir, megabytes: int, says: str) -> int:
    """Let a process append and be killed, so that the next start finds a WAL; its size in bytes."""
    pid = os.fork()
    if pid == 0:
        registry, log = open_data(data_dir)
        n_bytes = 0
        while n_bytes < megabytes << 20:
            batch = new_batch(says)
            log.append([batch], received_at_ms=now_ms())
            n_bytes += batch.n_bytes
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
    parser.add_argument("--says", choices=SAYS, default="nothing")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        data_dir = DataDir(Path(folder) / "data")
        config_path = Path(folder) / "sluicegate.toml"
        config_path.write_text(CONFIG.format(data_dir=data_dir.root))
        head, n_bytes = fill(data_dir, options.megabytes, options.says)
        size = data_dir.event_log.stat().st_size
        print(f"log: {size / 1e6:,.0f} MB for {head:,} events of {n_bytes / 1e6:,.0f} MB, nothing delivered")
        for number in range(options.times):
            wal = append_until_killed(data_dir, 12 + 2 * number, options.says)
            start = Start(config_path, data_dir)
            print(f"{'later' if number else 'first'} start, WAL {wal / 1e6:.1f} MB: {start}")
            start.kill()
            for name in (data_dir.stores / "archive.db",):  # the next start has everything before it again
                for suffix in ("", "-wal", "-shm"):
                    name.with_name(name.name + suffix).unlink(missing_ok=True)
        fsck(data_dir)
        damage(data_dir, head // 2)
        fsck(data_dir, "--repair")


if __name__ == "__main__":
    main()

"""The oracle and the receivers as their driver sees them: processes that take orders as lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.end_to_end.harness import poll

ROOT = Path(__file__).resolve().parents[2]
END_S = 10.0


class Program:
    """One module of the tests as a process; `ask` waits for its answer."""

    def __init__(self, module: str, *arguments: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SG_FP")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**environ, "PYTHONPATH": str(ROOT)},
        )

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order; its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line that it says."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"{self.process.args!r} has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End it."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class OracleProgram(Program):
    """The oracle."""

    def __init__(self, gateway: str, seed: str, journal: Path) -> None:
        super().__init__("oracle", gateway, seed, str(journal))
        self.journal = journal

    def run(self, *, connections: int = 4, pause_s: float = 0.02, timeout_s: float = 5.0, give_up: float = 0.2) -> None:
        """Begin to send."""
        order = {"connections": connections, "pause_s": pause_s, "timeout_s": timeout_s, "give_up": give_up}
        self.ask({"do": "run"} | order)

    @property
    def counts(self) -> dict[str, int]:
        """How many events were sent, acknowledged, failed and given up so far."""
        return self.ask({"do": "counts"})

    def more(self, n_events: int, *, timeout_s: float = 60.0) -> None:
        """Return when so many events more have been acknowledged."""
        goal = self.counts["acked"] + n_events
        poll(f"{n_events} more acknowledged events", lambda: self.counts["acked"] >= goal, timeout_s=timeout_s)

    def finish(self) -> dict[str, int]:
        """Stop sending; the counts when nothing is in hand any more."""
        return self.ask({"do": "finish"})

    def burst(self, connections: int) -> None:
        """Send one event on each of so many connections, all at the same time."""
        self.ask({"do": "burst", "connections": connections})

    def entries(self) -> Iterator[dict[str, Any]]:
        """Its journal."""
        return read_journal(self.journal)


class ReceiverProgram(Program):
    """A receiver, with a journal of its own."""

    def __init__(self, journal: Path) -> None:
        super().__init__("receiver", str(journal))
        self.journal = journal
        self.port: int = self.answer()["port"]

    def set(self, to: str, mode: str, **more: Any) -> None:
        """Change how it treats a destination."""
        self.ask({"to": to, "mode": mode} | more)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Its journal."""
        return read_journal(self.journal)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a journal."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)

"""A scenario: a real system, an oracle, receivers and a watcher around one fault, and the record of what came of it."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sluicegate.actors.system import free_port
from sluicegate.messages.status import DestinationStatus
from sluicegate.version import __version__
from tests.end_to_end.harness import System, poll
from tests.faults import signals
from tests.faults.checker import MAX_FDS, MAX_FDS_AT_REST, MAX_RSS_BYTES, Checker, Place
from tests.faults.events import Rule
from tests.faults.programs import ROOT, OracleProgram, ReceiverProgram
from tests.faults.signals import Part
from tests.faults.watcher import Watcher

DRAIN_S = 120.0
MIN_ACKED = 100
FRESH = 12
"""Events that must go through after the fault, beyond which nothing may be pending."""
INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9")
MAX_PROBLEM_CHARS = 500
HEALTHY_P99_S = 10.0
"""What a destination that has no fault may take at most; far beyond what is seen, for machines that are busy."""

HEAD = """\
data_dir = "{{data_dir}}"
[network]
allow = ["127.0.0.1"]
[gateway]
listen = "127.0.0.1:{port}"
write_keys = {{{{ web = "a-write-key", app = "another-write-key" }}}}
[consent]
on_undecided = "drop"
"""
ARCHIVE = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "archive.jsonl"
"""
CRM = """
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "http://127.0.0.1:{crm_port}/crm"
"""
ADS = """
[destinations.ads]
type = "webhook"
requires = ["measurement", "marketing"]
events = ["track"]
url = "http://127.0.0.1:{ads_port}/ads"
"""
SUPERVISOR = """
[supervisor]
retry_delay = "100ms"
retry_cap = "2s"
"""
RULES = {"archive": Rule(), "crm": Rule(("measurement",)), "ads": Rule(("measurement", "marketing"), ("track",))}


class Skip(Exception):
    """A fault, or a part of one, that cannot be injected here; its text is the reason."""


@dataclass(slots=True)
class Record:
    """What is known of a scenario that has ended; one line of JSON."""

    number: str
    title: str
    seed: int
    form: str
    commit: str
    version: str
    outcome: str = "passed"
    problem: str = ""
    acknowledged: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    duplicates: dict[str, int] = field(default_factory=dict)
    stored_again: int = 0
    recovery_s: float | None = None
    invariants: dict[str, str] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self))


class Run:
    """One run of one scenario; `draw` is its seeded source of chance."""

    def __init__(self, folder: Path, number: str, *, title: str, seed: int, long: bool) -> None:
        self.folder = folder
        self.long = long
        self.draw = random.Random(f"{number}/{seed}")
        form = "long" if long else "short"
        self.record = Record(number, title, seed, form, commit(), __version__)
        self.rules: dict[str, Rule] = dict(RULES)
        self.files: dict[str, Path] = {"archive": folder / "data" / "archive.jsonl"}
        self.crm = ReceiverProgram(folder / "crm.journal")
        self.ads = ReceiverProgram(folder / "ads.journal")
        self._closing: list[Callable[[], object]] = [self.crm.close, self.ads.close]
        self.port = free_port()
        self.oracle = OracleProgram(f"127.0.0.1:{self.port}", f"{number}s{seed}", folder / "oracle.journal")
        self._closing.append(self.oracle.close)
        self._faulted_at: float | None = None
        self._withdrawn: dict[str, frozenset[str]] = {}
        self._final: Mapping[str, DestinationStatus] = {}
        self.system: System
        self.watcher: Watcher

    def pick(self, short: Any, long: Any) -> Any:
        """The first in CI, the second in the long form."""
        return long if self.long else short

    # -- the system -------------------------------------------------------------------------------------------------

    def config(self, *sections: str, crm_port: int | None = None) -> str:
        """Sections of the configuration with the receivers' ports in them."""
        ports = {"crm_port": crm_port or self.crm.port, "ads_port": self.ads.port}
        return "".join(section.format(**ports) for section in sections)

    def start(
        self,
        config: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        """Start the system and the watcher."""
        config = self.config(SUPERVISOR, ARCHIVE, CRM, ADS) if config is None else config
        head = HEAD.format(port=self.port)
        self.system = System(self.folder, config, environ=environ, head=head, wrapper=wrapper)
        self._closing.append(self.system.close)
        self.system.start()
        self.watcher = Watcher(self.system.data_dir.root, lambda: self.system.pid)
        self._closing.append(self.watcher.close)

    def restart(self, config: str | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        """Stop the system and start it again, perhaps with another configuration or environment."""
        if config is not None:
            self.system.config_path.write_text(
                HEAD.format(port=self.port).format(data_dir=self.system.data_dir.root) + config
            )
        self.system.stop()
        self.system.environ.update(environ or {})
        self.system.start()

    def command(self, *arguments: str) -> None:
        """A command of the operator's, which must be carried out."""
        answer = self.system.admin(*arguments)
        assert answer.returncode == 0, answer.stderr

    def part(self, role: str) -> Part:
        """The process with this role."""
        return signals.find(self.system.pid, role)

    def parts(self) -> list[Part]:
        """The launcher and all processes below it."""
        return signals.below(self.system.pid)

    def status(self, what: str, holds: Callable[[dict[str, DestinationStatus]], Any], *, timeout_s: float = 60) -> Any:
        """The first true value of `holds` over a status that was asked for from now on."""
        began = time.monotonic()

        def look() -> Any:
            found = self.watcher.statuses_after(began)
            return found and holds(found)

        try:
            return poll(what, look, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.watcher.latest}\n{self.system.log()[-4000:]}") from None

    # -- the fault --------------------------------------------------------------------------------------------------

    def fired(self, what: str) -> None:
        """Note that a fault has happened, now."""
        self.record.fired.append(what)
        self._faulted_at = time.time()

    def kill(self, role: str) -> None:
        """SIGKILL of a part, seen to have happened."""
        part = self.part(role)
        signals.kill([part])
        self.fired(f"SIGKILL {role}")

    def failpoint(self, *points: str) -> dict[str, str]:
        """The environment that arms these failpoints, each to fire once in the whole scenario."""
        folder = self.folder / "failpoints"
        folder.mkdir(exist_ok=True)
        return {"SG_FP": ",".join(points), "SG_FP_DIR": str(folder)}

    def await_failpoint(self, name: str, *, timeout_s: float = 60.0) -> int:
        """Wait until a failpoint has fired; the process in which it did."""
        marker = self.folder / "failpoints" / name
        poll(f"failpoint {name} to fire", lambda: marker.exists() and marker.read_text(), timeout_s=timeout_s)
        self.fired(f"failpoint {name}")
        return int(marker.read_text())

    def withdraw(self, subjects: Iterable[str], purpose: str) -> dict[str, Any]:
        """Take consent back for these; what the last call answered, which is in force when it returns."""
        answer: dict[str, Any] = {}
        for subject in subjects:
            body = {"anonymousId": subject, "preferences": {purpose: False}, "writeKey": "a-write-key"}
            status, said = self.system.request("POST", "/v1/consent", json.dumps(body).encode())
            assert status == 200, said
            answer = json.loads(said)
            self._withdrawn[subject] = self._withdrawn.get(subject, frozenset()) | {purpose}
        self.fired("consent withdrawn")
        return answer

    # -- the end ----------------------------------------------------------------------------------------------------

    def settle(self, *, fresh: int = FRESH, timeout_s: float = DRAIN_S) -> None:
        """After the heal: fresh events must go through, all must be settled in time, and the system must stop."""
        healed_at = time.monotonic()
        if fresh:
            self.oracle.more(fresh)
            self.record.figures["fresh_acknowledged_s"] = round(time.monotonic() - healed_at, 3)
        acked = self.oracle.finish()["acked"]
        self._final = self.status("everything to be settled", _settled, timeout_s=timeout_s)
        self.record.recovery_s = round(time.monotonic() - healed_at, 3)
        self.record.acknowledged = acked
        self._stop()

    def _stop(self) -> None:
        parts = self.parts()
        self.watcher.rest(parts)
        began = time.monotonic()
        code = self.system.stop()
        self.record.figures["stop_s"] = round(time.monotonic() - began, 3)
        if code != 0:
            self.watcher.problems.append(f"I7: serve ended with exit code {code}")
        orphans = [part for part in self.watcher.seen.values() if part.alive]
        if orphans:
            self.watcher.problems.append(f"I7: processes outlived the system: {orphans}")

    def check(self, *, duplicates: bool = False, healthy: str | None = None) -> Checker:
        """Check all invariants and fill the record; raises with everything that does not hold.

        `duplicates` says that the scenario proves nothing without one, stored or delivered; `healthy` is a
        destination that must not have felt anything.
        """
        places = {
            name: Place(rule, file=self.files.get(name), journal=None if name in self.files else self._journal(name))
            for name, rule in self.rules.items()
        }
        checker = Checker(self.system.data_dir, self.oracle.journal, places, withdrawn=self._withdrawn)
        checker.check(self._final)
        problems = [*checker.problems, *self.watcher.problems, *self._bounds()]
        self._fill(checker)
        if healthy is not None:
            problems += self._felt(healthy)
        if self.record.acknowledged < MIN_ACKED:
            problems.append(f"vacuous: {self.record.acknowledged} events were acknowledged")
        if duplicates and not sum(self.record.duplicates.values()) + self.record.stored_again:
            problems.append("vacuous: no event came twice")
        if not self.record.fired:
            problems.append("vacuous: the fault did not happen")
        self._judge(problems, isolation="ok" if healthy else "not judged")
        return checker

    def _felt(self, healthy: str) -> Iterator[str]:
        p99_s = self.record.figures[f"{healthy}_p99_s"]
        if p99_s > HEALTHY_P99_S:
            yield f"I5: {healthy} had no fault and took {p99_s} s (p99)"

    def _journal(self, name: str) -> Path:
        return self.crm.journal if name == "crm" else self.ads.journal

    def _bounds(self) -> Iterator[str]:
        watcher, figures = self.watcher, self.record.figures
        figures["max_rss_mb"] = round(watcher.max_rss_bytes / 1e6, 1)
        figures["max_fds"], figures["max_processes"] = watcher.max_fds, watcher.max_processes
        figures["status_polls"] = watcher.n_polls
        if watcher.answers_s:
            figures["status_p99_s"] = round(sorted(watcher.answers_s)[int(0.99 * len(watcher.answers_s))], 3)
        if watcher.max_rss_bytes > MAX_RSS_BYTES:
            yield f"I7: the processes took {watcher.max_rss_bytes} bytes of memory"
        if watcher.max_fds > MAX_FDS:
            yield f"I7: a process had {watcher.max_fds} open files"
        if watcher.fds_at_rest > MAX_FDS_AT_REST:
            yield f"I7: a process still had {watcher.fds_at_rest} open files in the end"
        if not watcher.n_polls:
            yield "vacuous: the status was never seen"

    def _fill(self, checker: Checker) -> None:
        record = self.record
        record.delivered = {name: len(first) for name, first in checker.first.items()}
        record.duplicates = {name: checker.duplicates(name) for name in checker.places}
        record.stored_again = checker.stored_again()
        record.lost = sum(len(checker.lost(name)) for name in checker.places)
        for name, place in checker.places.items():
            if place.journal is not None and (delays := checker.delays_s(name)):
                record.figures[f"{name}_p99_s"] = round(delays[int(0.99 * len(delays))], 3)
        if self._faulted_at is not None:
            after = [at for at in checker.issued.acked.values() if at > self._faulted_at]
            if after:
                record.figures["acknowledged_again_s"] = round(min(after) - self._faulted_at, 3)

    def _judge(self, problems: Sequence[str], *, isolation: str) -> None:
        for invariant in INVARIANTS:
            good = isolation if invariant == "I5" else "ok"
            found = [problem for problem in problems if problem.startswith(invariant)]
            self.record.invariants[invariant] = "failed" if found else good
        if problems:
            self.record.outcome = "failed"
            raise AssertionError("\n".join(problems))

    def skip(self, reason: str) -> None:
        """Note a part of the fault that cannot be tried here, and go on."""
        self.record.skipped.append(reason)

    def adopt(self, close: Callable[[], object]) -> None:
        """Have this called at the end, whatever happens."""
        self._closing.append(close)

    def close(self) -> None:
        """End everything that was started."""
        for close in reversed(self._closing):
            with contextlib.suppress(OSError, AssertionError):
                close()


def _settled(found: Mapping[str, DestinationStatus]) -> Mapping[str, DestinationStatus] | None:
    return found if all(one.pending == 0 for one in found.values()) else None


Scenario = Callable[[Run], None]
SCENARIOS: dict[str, tuple[str, Scenario]] = {}
"""Number to title and what to do; filled by `fault`, in the order of the files."""


def fault(number: str, title: str) -> Callable[[Scenario], Scenario]:
    """Register a scenario under its number in the catalogue of faults."""

    def register(scenario: Scenario) -> Scenario:
        assert number not in SCENARIOS, number
        SCENARIOS[number] = (title, scenario)
        return scenario

    return register


def run_scenario(number: str, folder: Path, *, seed: int, long: bool) -> Record:
    """Run one, print its record, and return it; raises what it found, with the record printed all the same."""
    title, scenario = SCENARIOS[number]
    run = Run(folder, number, title=title, seed=seed, long=long)
    try:
        scenario(run)
    except Skip as reason:
        run.record.outcome = "skipped"
        run.record.skipped.append(str(reason))
    except BaseException as error:
        run.record.outcome = "failed"
        run.record.problem = str(error)[:MAX_PROBLEM_CHARS]
        error.add_note(f"{number} with seed {seed}")
        error.record = run.record  # type: ignore[attr-defined]
        raise
    finally:
        run.close()
        print(run.record.line(), flush=True)
    return run.record


@cache
def commit() -> str:
    """The commit that is tested, with a + when files have been changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
    )
    return said.stdout.strip() or "unknown"

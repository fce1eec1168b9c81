"""A scenario: a real system, an oracle, receivers and a watcher around one fault, and the record of what came of it."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sluicegate.actors.system import free_port
from sluicegate.messages.status import DestinationStatus
from tests.end_to_end.harness import System, poll
from tests.faults import signals
from tests.faults.canaries import WRITE_KEYS
from tests.faults.checker import Checker, Held, Place
from tests.faults.events import Rule
from tests.faults.judging import (
    CHANNELS,
    SETTLE_S,
    Channel,
    Observed,
    Resources,
    Settling,
    Span,
    figures_of,
    problems_of,
    quantile,
)
from tests.faults.layout import ADS, ARCHIVE, CRM, DROP, HEAD, HOLD, HOLD_S, RULES, SUPERVISOR
from tests.faults.programs import OracleProgram, ReceiverProgram
from tests.faults.record import Record, Skip, new_record
from tests.faults.scraper import Scraper
from tests.faults.signals import Part
from tests.faults.watcher import Watcher

DRAIN_S = 120.0
"""For how long a scenario waits for what should come within half of it."""
AGREE_S = 5.0
MIN_ACKED = 100
FRESH = 12
"""Events that must go through after the fault, beyond which nothing may be pending."""


class Run:
    """One run of one scenario; `draw` is its seeded source of chance."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.long = record.form == "long"
        self.draw = random.Random(f"{record.number}/{record.seed}")
        self.record = record
        self.rules: dict[str, Rule] = dict(RULES)
        self.files: dict[str, Path] = {"archive": folder / "data" / "archive.jsonl"}
        self._closing: list[Callable[[], object]] = []
        self.port = free_port()
        self.fired_at: list[float] = []
        self._before: Span | None = None
        self._down: list[tuple[Channel, Span]] = []
        self._settling = Settling(0.0)
        self.holds = False
        """Whether what nobody has decided is held, as by default."""
        self.particular: set[str] = set()
        """The destinations whose receivers refuse some events."""
        self._withdrawn: dict[str, frozenset[str]] = {}
        self._granted: dict[str, dict[str, float]] = {}
        self._final: Mapping[str, DestinationStatus] = {}
        self._began_at = self._ended_at = 0.0
        self.system: System
        self.watcher: Watcher
        self.scraper: Scraper
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Start the receivers and the oracle."""
        self.crm = ReceiverProgram(self.folder / "crm.journal")
        self.adopt(self.crm.close)
        self.ads = ReceiverProgram(self.folder / "ads.journal")
        self.adopt(self.ads.close)
        name = f"{self.record.number}s{self.record.seed}"
        self.oracle = OracleProgram(f"127.0.0.1:{self.port}", name, self.folder / "oracle.journal")
        self.adopt(self.oracle.close)

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
        self.system = System(self.folder, config, environ=environ, head=self._head(), wrapper=wrapper)
        self._closing.append(self.system.close)
        self.system.start()
        self.watcher = Watcher(self.system.data_dir.root, lambda: self.system.pid)
        self._closing.append(self.watcher.close)
        self.scraper = Scraper(self.port, lambda: self.system.pid)
        self._closing.append(self.scraper.close)
        self._began_at = time.time()

    def _head(self) -> str:
        return (HEAD + (HOLD if self.holds else DROP)).format(port=self.port)

    def restart(self, config: str | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        """Stop the system and start it again, perhaps with another configuration or environment."""
        if config is not None:
            self.system.config_path.write_text(self._head().format(data_dir=self.system.data_dir.root) + config)
        with self.down():
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

    def baseline(self) -> None:
        """See how fast everything is while there is no fault."""
        self.status("all to be loaded", lambda now: all(one.loaded for one in now.values()))
        began = time.time()
        self.oracle.more(self.pick(250, 2_000))
        self._before = (began, time.time())

    # -- the fault --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def down(self, *channels: Channel) -> Iterator[None]:
        """The length of a `with` block, in which a fault stops who would answer; both ways when none is named."""
        began = time.time()
        try:
            yield
        finally:
            self._down += [(channel, (began, time.time())) for channel in channels or CHANNELS]

    @contextlib.contextmanager
    def stopped(self, parts: Iterable[Part], *channels: Channel) -> Iterator[None]:
        """The same, with these standing still."""
        with self.down(*channels), signals.stopped(parts):
            yield

    def fired(self, what: str) -> None:
        """Note that a fault has happened, now."""
        self.record.fired.append(what)
        self.fired_at.append(time.time())

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
            answer = self._decide(subject, purpose, False)
            self._withdrawn[subject] = self._withdrawn.get(subject, frozenset()) | {purpose}
        self.fired("consent withdrawn")
        return answer

    def grant(self, subjects: Iterable[str], purpose: str) -> None:
        """Have these agree to what they may have said nothing of."""
        for subject in subjects:
            self._decide(subject, purpose, True)
            self._granted.setdefault(subject, {})[purpose] = time.time()
        self.fired("consent granted")

    def _decide(self, subject: str, purpose: str, value: bool) -> dict[str, Any]:
        body = {"anonymousId": subject, "preferences": {purpose: value}, "writeKey": WRITE_KEYS["web"]}
        status, said = self.system.request("POST", "/v1/consent", json.dumps(body).encode())
        assert status == 200, said
        answer: dict[str, Any] = json.loads(said)
        return answer

    # -- the end ----------------------------------------------------------------------------------------------------

    def settle(self, *, fresh: int = FRESH, timeout_s: float = DRAIN_S, allowed_s: float = SETTLE_S) -> None:
        """After the heal: fresh events must go through, all must be settled in time, and the system must stop.

        `allowed_s` is longer than usual where more waits than can be delivered in the usual time.
        """
        self._settling = Settling(time.time(), allowed_s=allowed_s)
        began = time.monotonic()
        try:
            if fresh:
                self.oracle.more(fresh, timeout_s=timeout_s)
            self._settling.fresh_s = time.monotonic() - began
            self.record.acknowledged = self.oracle.finish()["acked"]
            self._final = self.status("everything to be settled", _settled, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"I6: {error}") from None
        self._settling.settled_s = time.monotonic() - began
        self.record.recovery_s = round(self._settling.settled_s, 3)
        with contextlib.suppress(AssertionError):  # it is judged with all else
            poll("the metrics to say what the status says", self._agrees, timeout_s=AGREE_S)
        self._stop()

    def _agrees(self) -> bool:
        status, metrics = self.watcher.books.latest, self.scraper.books.latest
        return all(id_ in metrics and metrics[id_].told == counts.told for id_, counts in status.items())

    def _stop(self) -> None:
        parts = self.parts()
        self.watcher.rest(parts)
        self.scraper.close()
        self._ended_at = time.time()
        began = time.monotonic()
        code = self.system.stop()
        self.record.figures["stop_s"] = round(time.monotonic() - began, 3)
        if code != 0:
            self.watcher.problems.append(f"I7: serve ended with exit code {code}")

    def check(self, *, duplicates: bool = False, healthy: str | None = None) -> Checker:
        """Check all invariants and fill the record; raises with everything that does not hold.

        `duplicates` says that the scenario proves nothing without one, stored or delivered; `healthy` is a
        destination that must not have felt anything.
        """
        places = {
            name: Place(rule, file=self.files.get(name), journal=None if name in self.files else self._journal(name))
            for name, rule in self.rules.items()
        }
        held = Held(HOLD_S, self._granted) if self.holds else None
        checker = Checker(
            self.system.data_dir,
            self.oracle.journal,
            places,
            withdrawn=self._withdrawn,
            held=held,
            particular=self.particular,
        )
        checker.check(self._final)
        seen = self.observed()
        problems = [*checker.problems, *self.watcher.problems, *self.watcher.books.problems]
        problems += [*self.scraper.problems, *self.scraper.books.problems]
        problems += dict.fromkeys(problems_of(checker, seen, healthy=healthy))
        self._fill(checker, seen)
        if self.record.acknowledged < MIN_ACKED:
            problems.append(f"vacuous: {self.record.acknowledged} events were acknowledged")
        if duplicates and not sum(self.record.duplicates.values()) + self.record.stored_again:
            problems.append("vacuous: no event came twice")
        if not self.record.fired:
            problems.append("vacuous: the fault did not happen")
        self.record.judge(problems, isolation=healthy is not None)
        if problems:
            raise AssertionError("\n".join(problems))
        return checker

    def observed(self) -> Observed:
        """What was seen from outside."""
        watcher = self.watcher
        orphans = [part for part in watcher.seen.values() if part.alive]
        return Observed(
            self.folder,
            (self._began_at, self._ended_at),
            watcher.books.sightings,
            self.scraper.books.sightings,
            self._settling,
            said=frozenset(watcher.said),
            resources=Resources(watcher.max_rss_bytes, watcher.max_fds, watcher.fds_at_rest, orphans),
            down=self._down,
            before=self._before,
            during=(self.fired_at[0], self._settling.healed_at) if self.fired_at else None,
        )

    def _journal(self, name: str) -> Path:
        return self.crm.journal if name == "crm" else self.ads.journal

    def _fill(self, checker: Checker, seen: Observed) -> None:
        record, watcher = self.record, self.watcher
        record.figures |= figures_of(checker, seen)
        record.figures["max_processes"] = watcher.max_processes
        if answers_s := sorted(took_s for _, took_s in watcher.answers):
            record.figures["status_p99_s"] = round(quantile(answers_s, 0.99), 3)
        record.delivered = {name: len(first) for name, first in checker.first.items()}
        record.duplicates = {name: checker.duplicates(name) for name in checker.places}
        record.stored_again = checker.stored_again()
        record.lost = sum(len(checker.lost(name)) for name in checker.places)
        if self.fired_at and (again_s := checker.acknowledged_after_s(self.fired_at[-1])) is not None:
            record.figures["acknowledged_again_s"] = round(again_s, 3)

    def bound(self, name: str, value: float, at_most: float) -> None:
        """Record the largest of some figure, which may not be larger than this."""
        self.record.figures[name] = round(max(value, self.record.figures.get(name, value)), 3)
        assert value <= at_most, f"{name} is {value:g}, and {at_most:g} is allowed"

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
    return found if all(one.pending == one.held == 0 for one in found.values()) else None


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
    record = new_record(number, title, seed=seed, long=long)
    run: Run | None = None
    try:
        run = Run(folder, record)
        scenario(run)
    except Skip as reason:
        record.outcome = "skipped"
        record.skipped.append(str(reason))
    except BaseException as error:
        record.fail(str(error) or repr(error))
        error.add_note(f"{number} with seed {seed}")
        error.record = record  # type: ignore[attr-defined]
        raise
    finally:
        if run is not None:
            run.close()
        print(record.line(), flush=True)
    return record

"""The thread that delivers to one destination: reads the log, calls the plugin, commits.

    load      import, settings, claim the epoch, initialize(), test()          LOADED, or FAILED / HALTED / SUPERSEDED
    deliver   end calls, read on, start calls, commit, wait                    until stopped, halted or superseded
    finish    wait for the calls in flight, commit, destroy()                  STOPPED, ...

The middle is `loop`, and its rules are `lanes`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sluicegate import failpoints
from sluicegate.config.model import ConsentConfig, DestinationConfig, config_hash, consent_of, redacts_for
from sluicegate.delivery.deciding import Deciding
from sluicegate.delivery.flight import FlightRecord, interrupted_calls
from sluicegate.delivery.gate import Gate, open_ledger_reader
from sluicegate.delivery.held import HoldBounds
from sluicegate.delivery.loop import DeliveryLoop, Stop
from sluicegate.delivery.plugin import Plugin, error_text, make_plugin, required_of
from sluicegate.delivery.presence import Presence
from sluicegate.delivery.reader import offsets_of_call
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.report import LoadStage, Report, ReportKind, Snapshot, Vitals
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.waiting import Waiting
from sluicegate.errors import ConfigError, CredentialsRefused, NotInstalled, NotReady, StaleEpoch
from sluicegate.eventlog.bell import BellWatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir

logger = logging.getLogger(__name__)

CALLS_SHARE = 0.8
"""The part of the time to stop that calls in flight get. What is left is for the last commit, `destroy()` and the exit:
a process that is killed over its calls makes them look as if it had died of them."""
DIED_IN_REPLAY = "the process died while it delivered this event again"


class DeliveryWorker:
    """Delivers to one destination in a thread of its own.

    `report` is called in that thread: LOADED once the plugin is ready, and one final report, after which it ends.
    `at` hears, in that thread too, what it begins with until it has loaded, and `on_keeping_up` whether it reads as
    fast as events come, whenever that changes; at first it is not taken for granted.
    `start_offset` is where a store that does not exist yet begins: what lies before it is not for this destination.
    """

    def __init__(
        self,
        destination: DestinationConfig,
        data_dir: DataDir,
        epoch: int,
        report: Callable[[Report], object],
        *,
        start_offset: int,
        make: Callable[[DestinationConfig, DataDir], Plugin] = make_plugin,
        consent: ConsentConfig = ConsentConfig(),  # noqa: B008  (frozen)
        at: Callable[[LoadStage], object] = lambda stage: None,
        on_keeping_up: Callable[[bool], object] = lambda keeps_up: None,
    ) -> None:
        self._destination = destination
        self._data_dir = data_dir
        self._epoch = epoch
        self._report = report
        self._start_offset = start_offset
        self._make = make
        self._at = at
        self._on_keeping_up = on_keeping_up
        self._consent = consent_of(destination, consent)
        self._bell = BellWatch(data_dir.bell)
        self._waiting = Waiting(self._bell)
        self._stop = Stop(threading.Event())
        self._vitals = Vitals()
        self._thread = threading.Thread(target=self._run, name=f"delivery-{destination.id}", daemon=True)

    # From any thread

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, deadline_s: float = 20.0) -> None:
        """Ask for the end within `deadline_s`; returns at once. Asked again, the last deadline counts.

        Calls in flight may finish within most of it; the events of those that do not are delivered again later.
        """
        self._stop.calls_until = time.monotonic() + CALLS_SHARE * deadline_s
        self._stop.asked.set()
        self._waiting.wake()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; say whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def snapshot(self) -> Snapshot:
        """How it is doing; takes microseconds, whatever the plugin does."""
        return self._vitals.snapshot()

    # In the worker's thread

    def _run(self) -> None:
        try:
            final = self._live()
        except StaleEpoch as error:
            final = Report(ReportKind.SUPERSEDED, error_text(error))
        except BaseException as error:  # the actor must hear of it, whatever it is
            logger.exception("delivery to %s ended", self._destination.id)
            final = Report(ReportKind.FAILED, error_text(error))
        self._bell.close()
        self._report(final)

    def _live(self) -> Report:
        plugin: Plugin | None
        refusal = ""
        self._at(LoadStage.IMPORT)
        try:
            plugin = self._make(self._destination, self._data_dir)
        except (NotReady, ConfigError) as error:
            return Report(ReportKind.FAILED, error_text(error), permanent=isinstance(error, NotInstalled))
        except CredentialsRefused as error:
            plugin, refusal = None, error_text(error)
        self._at(LoadStage.STORE)
        with closing(Presence(self._data_dir.presence(self._destination.id))):
            return self._own(plugin, refusal)

    def _own(self, plugin: Plugin | None, refusal: str) -> Report:
        """Claim the store, and deliver."""
        destination = self._destination
        store = DestinationStore.open(
            self._data_dir.store(destination.id),
            start=self._start_offset,
            requires=destination.requires,
            config_hash=config_hash(destination),
        )
        try:
            cursor = store.claim(self._epoch).cursor
            if plugin is None:
                return self._halted(store, refusal)
            try:
                return self._initialize(plugin, store) or self._deliver(plugin, store, cursor)
            finally:
                self._destroy(plugin)
        finally:
            store.close()

    def _deliver(self, plugin: Plugin, store: DestinationStore, cursor: int) -> Report:
        self._at(LoadStage.LOG)
        log = SqliteLog(self._data_dir.event_log, create=False, reader=self._destination.id)
        flight: FlightRecord | None = None
        ledger = open_ledger_reader(self._data_dir, self._consent)
        deciding = Deciding(self._data_dir.stores, self._destination.id)
        try:
            recovery = self._recovery(plugin, store, log)
            flight = FlightRecord(_calls_path(store), epoch=self._epoch, limits=plugin.limits)
            loop = DeliveryLoop(
                plugin,
                store,
                log,
                name=self._destination.id,
                epoch=self._epoch,
                cursor=cursor,
                waiting=self._waiting,
                stop=self._stop,
                vitals=self._vitals,
                flight=flight,
                recovery=recovery,
                rate_per_s=self._destination.rate_per_s,
                gate=Gate(
                    ledger,
                    required_of(self._destination, type(plugin.instance.settings)),
                    self._consent,
                    redacts_for=redacts_for(self._destination),
                ),
                deciding=deciding,
                hold=HoldBounds.of(self._consent),
                head=self._bell.head,
                on_keeping_up=self._on_keeping_up,
            )
            self._at(LoadStage.LOADED)
            self._report(Report(ReportKind.LOADED))
            halted = loop.run()
        finally:
            if flight is not None:
                flight.close()
            deciding.close()
            ledger.close()
            log.close()
        if halted is None:
            return Report(ReportKind.STOPPED)
        return self._halted(store, halted)

    def _recovery(self, plugin: Plugin, store: DestinationStore, log: SqliteLog) -> Recovery:
        """What earlier processes have left, after taking note of how the last one ended."""
        died, interrupted = interrupted_calls(_calls_path(store))
        if interrupted:
            calls = [
                call.offsets
                or offsets_of_call(log, plugin.permits, n_events=call.n_events, first=call.first, last=call.last)
                for call in interrupted
                if not call.replay and not call.released
            ]
            released = [offset for call in interrupted if call.released for offset in call.offsets or ()]
            replayed = [id_ for call in interrupted if call.replay for id_ in call.offsets or ()]
            logger.warning("an earlier process died during %d calls of %s", len(interrupted), self._destination.id)
            store.note_deaths(
                self._epoch, died, calls=calls, replayed=replayed, reason=DIED_IN_REPLAY, released=released
            )
        retries, suspects = store.unsettled()
        restraint = store.restrained(self._epoch, store.config_hash)
        remembered = store.remembered(self._epoch, head=log.head())
        return Recovery(retries, suspects, time.monotonic(), restraint, remembered)

    def _halted(self, store: DestinationStore, reason: str) -> Report:
        """The vendor refuses us as we are configured now."""
        store.remember_refusal(self._epoch, store.config_hash)
        return Report(ReportKind.HALTED, reason)

    def _initialize(self, plugin: Plugin, store: DestinationStore) -> Report | None:
        self._at(LoadStage.INITIALIZE)
        try:
            if failpoints.ARMED:
                failpoints.hit(failpoints.Point.IN_INITIALIZE)
            plugin.instance.initialize()
            if self._destination.test_on_load:
                self._at(LoadStage.TEST)
                plugin.instance.test()
        except CredentialsRefused as error:
            return self._halted(store, plugin.mask(error_text(error)))
        except BaseException as error:
            permanent = isinstance(error, NotInstalled)
            return Report(ReportKind.FAILED, plugin.mask(error_text(error)), permanent=permanent)
        return None

    def _destroy(self, plugin: Plugin) -> None:
        began, calls_s = time.monotonic(), self._vitals.oldest_call_s
        self._vitals.oldest_call_s = lambda: max(calls_s(), time.monotonic() - began)  # one that hangs is a stall too
        try:
            plugin.instance.destroy()
        except BaseException as error:
            logger.warning("destroy() of %s failed: %s", self._destination.id, plugin.mask(error_text(error)))
        finally:
            self._vitals.oldest_call_s = calls_s


def _calls_path(store: DestinationStore) -> Path:
    return store.path.with_suffix(".calls")

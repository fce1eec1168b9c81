"""The router actor: the front door for Python applications, and the eyes of all destinations that are not loaded."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from setproctitle import setproctitle
from thespian.actors import ActorAddress

from sluicegate.acceptance import Acceptance, Acceptor
from sluicegate.acceptance.collecting import Collector, UnderWay
from sluicegate.acceptance.notice import listeners, notice_of
from sluicegate.acceptance.suppressing import Suppressor
from sluicegate.actors.base import SafeActor, handles
from sluicegate.config import Config
from sluicegate.consent.call import checked_call
from sluicegate.consent.evidence import Evidence, Told
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.consent.suppressed import SuppressedCount
from sluicegate.consent.writer import LedgerWriter
from sluicegate.delivery.barrier import Denials, Stopped, denies
from sluicegate.delivery.regulating import ErasingThread
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.errors import ConsentUnreadable, LogError, LogUnavailable, SluicegateError
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.space import FreeSpace
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.writer import GroupCommit
from sluicegate.logs import be_part
from sluicegate.messages.consent import ConsentRecorded, SetConsent
from sluicegate.messages.control import AreYouThere, Configure, Done, Ensure, Introduce, Running
from sluicegate.messages.ingest import Accepted, ProcessEvent, ProcessEvents, Refused, Verdict
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

ASK_AGAIN_S = 2.0
ASK_IDLE_S = 10.0  # with nothing wanted: only in case that a change of what runs was not heard


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request whose events are on their way to disk."""

    request_id: str
    sender: ActorAddress
    acceptance: Acceptance
    n_accepted: int


@dataclass(frozen=True, slots=True)
class _Deciding:
    """A decision on its way to disk."""

    request_id: str
    sender: ActorAddress
    told: Told
    version: int = 0
    """The ledger's, when it is there."""


class RouterActor(SafeActor):
    """Created once by the launcher; `Configure` and `Introduce` come first."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor: ActorAddress | None = None
        self._acceptor: Acceptor | None = None
        self._commits: GroupCommit[_Waiting | _Deciding] | None = None
        self._listeners: tuple[str, ...] = ()
        self._space: FreeSpace | None = None
        self._aliases: Mapping[str, str] = {}
        self._ledger: LedgerWriter[_Deciding | _Waiting | None] | None = None
        self._collector: Collector | None = None
        self._suppressor: Suppressor | None = None
        self._erasing: ErasingThread | None = None
        self._under_way = UnderWay()
        self._denials: Denials[_Deciding] | None = None
        self._sweeper: Sweeper | None = None
        self._wanted: tuple[str, ...] = ()

    @handles(Configure)
    def receiveMsg_Configure(self, message: Configure, sender: ActorAddress) -> None:
        """Open the log and begin to mind the destinations; once, however often the launcher asks."""
        if self._erasing is None:
            self._configure(Config.decode(message.config))
        self.send(sender, Done(message.request_id, os.getpid()))

    def _configure(self, config: Config) -> None:
        setproctitle("sluicegate: router")
        be_part("router")
        data_dir = DataDir(config.data_dir)
        self._acceptor = Acceptor(config.gateway, config.purposes, config.consent)
        self._space = FreeSpace(data_dir.root, config.log)
        stored = self.open_inbox(self._answer)
        self._commits = GroupCommit(
            functools.partial(SqliteLog, data_dir.event_log, create=False, seen=SeenIds.of(config.log)),
            on_committed=lambda done, n_left_out: stored.put((done, None)),
            on_failed=lambda tokens, error: stored.put(([(token, 0) for token in tokens], error)),
            on_fatal=_end_process,
            bell=Bell(data_dir.bell),
        )
        self._commits.start()
        self._open_ledger(config, data_dir)
        wanted = self.open_inbox(lambda items: self._ask_for(items[-1]))
        self._sweeper = Sweeper(config, data_dir, on_wanted=wanted.put, on_fatal=_end_without_sweeper)
        self._sweeper.start()
        self._erasing = ErasingThread(data_dir)
        self._erasing.start()

    def _open_ledger(self, config: Config, data_dir: DataDir) -> None:
        self._aliases = config.purposes.aliases
        self._listeners = listeners(config)
        written = self.open_inbox(self._answer_decisions)
        purposes = config.purposes.stored
        self._ledger = LedgerWriter(
            functools.partial(Ledger, data_dir.consent, data_dir.consent_key, purposes=purposes),
            on_recorded=lambda tokens, recorded: written.put((tokens, recorded)),
            on_failed=lambda tokens, error: written.put((tokens, error)),
            history_ttl_s=config.consent.history_ttl_s,
        )
        self._ledger.start()
        rules = Rules.of(config.consent)
        reader = LedgerReader(data_dir.consent, data_dir.consent_key, rules)
        self._suppressor = Suppressor(reader, count=SuppressedCount(data_dir.suppressed, "actor"))
        self._denials = Denials(config, self.open_inbox(self._answer_denials).put)
        self._collector = Collector(reader, gpc_purposes=config.consent.gpc_purposes)

    @handles(Introduce)
    def receiveMsg_Introduce(self, message: Introduce, sender: ActorAddress) -> None:
        """Take this supervisor for the one; ask it what runs."""
        self._supervisor = message.supervisor
        self._ask_for(self._wanted)

    @handles(AreYouThere)
    def receiveMsg_AreYouThere(self, message: AreYouThere, sender: ActorAddress) -> None:
        """Yes."""
        self.send(sender, Done(message.request_id, os.getpid()))

    # -- who is wanted ----------------------------------------------------------------------------------------------

    def _ask_for(self, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        if self._supervisor is not None:
            self.send(self._supervisor, Ensure(wanted))
            self.after(ASK_AGAIN_S if wanted else ASK_IDLE_S, "ask again")

    def on_timer(self, name: object) -> None:
        """Ask again: an `Ensure` or its answer may have been lost, and a failed destination may be due."""
        self._ask_for(self._wanted)

    @handles(Running)
    def receiveMsg_Running(self, message: Running, sender: ActorAddress) -> None:
        """Leave these destinations to themselves, mind all others."""
        if self._sweeper is not None:
            self._sweeper.set_running(message.ids)

    # -- events from Python applications ----------------------------------------------------------------------------

    @handles(ProcessEvents)
    def receiveMsg_ProcessEvents(self, message: ProcessEvents, sender: ActorAddress) -> None:
        """Accept a list of events."""
        self._accept(message, message.events, sender)

    @handles(ProcessEvent)
    def receiveMsg_ProcessEvent(self, message: ProcessEvent, sender: ActorAddress) -> None:
        """Accept one event given as fields."""
        event: dict[str, Any] = {**message.fields, "type": message.type}
        named = {"userId": message.user_id, "anonymousId": message.anonymous_id, "event": message.event}
        event |= {name: value for name, value in named.items() if value is not None}
        self._accept(message, (msgspec.json.encode(event),), sender)

    def _accept(self, message: ProcessEvents | ProcessEvent, events: tuple[bytes, ...], sender: ActorAddress) -> None:
        if self._acceptor is None or self._commits is None:
            self.send(sender, Refused(message.request_id, "the router is starting; try again"))
            return
        try:
            acceptance = self._acceptor.accept_events(
                events, consent=message.consent, source=message.source, received_at_ms=time.time_ns() // 1_000_000
            )
            waiting = _Waiting(message.request_id, sender, acceptance, len(acceptance.batch))
            self._leave_out_suppressed(acceptance)
            if len(acceptance.batch) == 0:
                self._answer_one(waiting, 0)
            elif (problem := self._disk_problem(acceptance.batch.n_bytes)) is not None:
                self.send(sender, Refused(message.request_id, f"not stored, try again later: {problem}"))
            elif not self._tell_ledger(waiting):
                self._store(waiting)
        except SluicegateError as error:
            most = self._acceptor.limits.max_batch_events
            self.send(sender, Refused(message.request_id, str(error), most if len(events) > most else None))

    def _leave_out_suppressed(self, acceptance: Acceptance) -> None:
        """Take nothing of people who are suppressed; all of it while nobody can tell, for nothing is delivered then."""
        assert self._suppressor is not None
        try:
            acceptance.batch = self._suppressor.taken(acceptance.batch)
        except ConsentUnreadable as error:
            log.warning("it is not known whose events are not to be taken: %s", error)

    def _tell_ledger(self, waiting: _Waiting) -> bool:
        """Have what these events say about consent written first; False when they say nothing new."""
        assert self._collector is not None and self._ledger is not None
        try:
            entries = self._collector.collect(waiting.acceptance.batch, received_ms=time.time_ns() // 1_000_000)
        except ConsentUnreadable as error:
            log.warning("what events say about consent is not recorded: %s", error)
            self._collector.was_not_written()
            entries = []
        batch = waiting.acceptance.batch
        if not (entries or self._under_way.must_wait(batch)):
            return False
        if not self._ledger.submit(entries, waiting):
            self._collector.was_not_written()
            return False
        self._under_way.add(batch)
        return True

    def _store(self, waiting: _Waiting) -> None:
        assert self._commits is not None
        if not self._commits.submit(waiting.acceptance.batch, waiting):
            text = "too many events wait for the disk; try again later"
            self.send(waiting.sender, Refused(waiting.request_id, text))

    def _disk_problem(self, n_bytes: int) -> str | None:
        assert self._space is not None
        return self._space.problem(time.monotonic()) or self._space.taking(n_bytes)

    def _answer(self, results: list[tuple[list[tuple[_Waiting | _Deciding, int]], Exception | None]]) -> None:
        """What the writer's thread reports: requests whose events are on disk, or could not be stored."""
        for done, error in results:
            for waiting, offset in done:
                self._answering(waiting, functools.partial(self._answer_stored, waiting, offset, error))

    def _answering(self, one: _Waiting | _Deciding, answer: Callable[[], None]) -> None:
        """Answer one of several requests: a failure is told to whoever sent it, and touches none of the others."""
        try:
            answer()
        except Exception as error:
            log.exception("cannot answer a request")
            self.send(one.sender, Refused(one.request_id, f"the router failed, send it again: {type(error).__name__}"))

    def _answer_stored(self, one: _Waiting | _Deciding, offset: int, error: Exception | None) -> None:
        if isinstance(one, _Deciding):
            self._answer_told(one, error)
        elif error is None:
            self._answer_one(one, offset)
        else:
            self.send(one.sender, Refused(one.request_id, f"not stored, try again: {error}"))

    def _answer_one(self, waiting: _Waiting, offset: int) -> None:
        acceptance = waiting.acceptance
        verdicts = tuple(Verdict(r.index, r.message_id, r.text) for r in acceptance.rejected)
        self.send(waiting.sender, Accepted(waiting.request_id, offset, waiting.n_accepted, verdicts))

    # -- decisions from Python applications -------------------------------------------------------------------------

    @handles(SetConsent)
    def receiveMsg_SetConsent(self, message: SetConsent, sender: ActorAddress) -> None:
        """Write a decision to the ledger."""
        try:
            call = checked_call(
                message.preferences,
                user_id=message.user_id,
                anonymous_id=message.anonymous_id,
                decided_at_ms=message.decided_at_ms,
                policy=message.policy_version,
                aliases=self._aliases,
            )
        except SluicegateError as error:
            self.send(sender, Refused(message.request_id, str(error)))
            return
        now_ms = time.time_ns() // 1_000_000
        told = call.told(evidence=Evidence.APPLICATION, source=message.source, received_ms=now_ms)
        if self._ledger is None or not self._ledger.submit([told], _Deciding(message.request_id, sender, told)):
            self.send(sender, Refused(message.request_id, "the consent ledger is not ready; try again"))

    def _answer_decisions(self, results: list[tuple[list[_Deciding | _Waiting | None], Recorded | LogError]]) -> None:
        """What the ledger's thread reports."""
        for tokens, outcome in results:
            if isinstance(outcome, LogError) and self._collector is not None:
                self._collector.was_not_written()
            for one in tokens:
                if isinstance(one, _Waiting):
                    self._under_way.remove(one.acceptance.batch)
                    # with its stamps, whatever became of them in the ledger
                    self._answering(one, functools.partial(self._store, one))
                elif one is not None:
                    self._answering(one, functools.partial(self._answer_decision, one, outcome))

    def _answer_decision(self, one: _Deciding, outcome: Recorded | LogError) -> None:
        if isinstance(outcome, LogError):
            self.send(one.sender, Refused(one.request_id, f"not recorded, try again: {outcome}"))
            return
        one = replace(one, version=outcome.version)
        if not self._tell_listeners(one):
            self._put_in_force(one)

    def _tell_listeners(self, one: _Deciding) -> bool:
        """Store an event about a decision, after which `_answer_told` is called; False when nobody is to hear of it."""
        if not self._listeners or self._suppressor is None or self._commits is None:
            return False
        batch = notice_of(one.told, received_ms=time.time_ns() // 1_000_000)
        try:
            batch = self._suppressor.taken(batch)
        except ConsentUnreadable as error:
            log.warning("it is not known whose events are not to be taken: %s", error)
        if len(batch) and not self._commits.submit(batch, one):
            self._answer_told(one, LogUnavailable("too many events wait for the disk"))
        return len(batch) > 0

    def _answer_told(self, one: _Deciding, error: Exception | None) -> None:
        if error is None:
            self._put_in_force(one)
        else:
            by = ", ".join(self._listeners)
            self.send(
                one.sender, Refused(one.request_id, f"recorded, but {by} cannot hear of it: {error}; send it again")
            )

    def _put_in_force(self, one: _Deciding) -> None:
        if denies(one.told) and self._denials is not None:
            self._denials.pass_on(one.told, one)
        else:
            self.send(one.sender, ConsentRecorded(one.request_id, one.version))

    def _answer_denials(self, results: list[tuple[_Deciding, Stopped | None]]) -> None:
        """Denials that no call can begin any more without having seen, or that are not known to be."""
        for one, stopped in results:
            if stopped is None or stopped.late:
                by = ", ".join(stopped.late) if stopped is not None else "the destinations"
                text = f"recorded, but not confirmed by {by}; send it again"
                self.send(one.sender, Refused(one.request_id, text))
            else:
                found = stopped.stopped, stopped.in_flight, stopped.complete
                self.send(one.sender, ConsentRecorded(one.request_id, one.version, *found))

    def on_error(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        """Whoever asked is told."""
        if isinstance(message, Configure | ProcessEvents | ProcessEvent | SetConsent):
            self.send(sender, Refused(message.request_id, f"the router failed: {type(error).__name__}: {error}"))

    def on_exit(self) -> None:
        """Commit what was taken, and stop minding."""
        if self._ledger is not None:
            if self._collector is not None and (rest := self._collector.rest()):
                self._ledger.submit(rest, None)
            self._ledger.close(timeout_s=5.0)
        if self._denials is not None:
            self._denials.close()
        if self._commits is not None:
            self._commits.close(timeout_s=5.0)
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._erasing is not None:
            self._erasing.stop()


def _end_process(error: LogError) -> None:
    """A log that cannot be trusted ends the router, without another write; the launcher starts it afresh."""
    log.critical("the event log failed: %s", error)
    os._exit(1)


def _end_without_sweeper(error: Exception) -> None:
    """Without its sweeper a router would wake nobody and look healthy: it ends, and the launcher starts it afresh."""
    log.critical("the router ends: nobody would mind the destinations that are not loaded: %s", error)
    os._exit(1)

"""The supervisor actor: parent of all destination actors, and the shell around the loading table."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import http.client  # noqa: F401  most plugins need it: imported before the first fork, it is shared by all
import logging
import os
import time
from collections import deque

from setproctitle import setproctitle
from thespian.actors import ActorAddress

from sluicegate import errors
from sluicegate.actors import children
from sluicegate.actors.askers import Askers
from sluicegate.actors.base import SafeActor, handles
from sluicegate.actors.kept_pauses import KeptPauses
from sluicegate.actors.records import Records
from sluicegate.actors.statuses import describe, describe_removed
from sluicegate.config import Config
from sluicegate.config.model import MIB
from sluicegate.consent.named import named_consent
from sluicegate.consent.requirement import State, judge
from sluicegate.loading.effects import BatchDone, Drained, Effect, Kill, NoteEvicted, PersistPause, RequestStop, Spawn
from sluicegate.loading.pauses import by_operator
from sluicegate.loading.pointless import Command
from sluicegate.loading.table import LoadingTable
from sluicegate.logs import be_part
from sluicegate.messages.codec import Message
from sluicegate.messages.control import (
    AreYouThere,
    ClearAll,
    Configure,
    Done,
    Drain,
    Ensure,
    Halted,
    LoadBatch,
    Loaded,
    LoadFailed,
    LoadResults,
    Pause,
    Preload,
    Progress,
    Reset,
    Resume,
    RetryLoad,
    Running,
    Start,
    Stop,
    Unload,
)
from sluicegate.messages.ingest import Refused
from sluicegate.messages.status import GetStats, GetStatus, IsLoaded, IsLoadedAnswer, StatsAnswer, Statuses
from sluicegate.paths import DataDir
from sluicegate.pressure import memory_use

log = logging.getLogger(__name__)

MEMORY_LOOK_S = 5.0


class SupervisorActor(SafeActor):
    """Created once by the launcher; `Configure` comes first.

    It holds no thread and no open database when it starts a child, because a child begins as a copy of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._config: Config | None = None
        self._records: Records | None = None
        self._table: LoadingTable | None = None
        self._children = children.Children(self, self._ended)
        self._askers = Askers()
        self._router: ActorAddress | None = None
        self._told: tuple[str, ...] = ()
        self._pauses = KeptPauses(self._remember_pause)

    # -- beginning --------------------------------------------------------------------------------------------------

    @handles(Configure)
    def receiveMsg_Configure(self, message: Configure, sender: ActorAddress) -> None:
        """Register all enabled destinations, with what is remembered of them."""
        if self._table is None:
            self._configure(Config.decode(message.config))
        self.send(sender, Done(message.request_id, os.getpid()))

    def _configure(self, config: Config) -> None:
        setproctitle("sluicegate: supervisor")
        be_part("supervisor")
        enabled = [destination for destination in config.destinations.values() if destination.enabled]
        records = Records.open(DataDir(config.data_dir), enabled)
        epochs = records.epochs(records.registered)
        table = LoadingTable(config.supervisor)
        for id, registration in records.registered.items():
            table.register(id, epoch=epochs.get(id, 0), paused=registration.paused_reason)
        self._config, self._records, self._table = config, records, table
        if config.supervisor.memory_shed_percent:
            self.after(MEMORY_LOOK_S, "memory")
        gc.collect()
        gc.freeze()  # children share what is there now; a collection in a child would copy it

    # -- the table and its effects ----------------------------------------------------------------------------------

    def _table_now(self) -> tuple[LoadingTable, float]:
        if self._table is None:
            raise errors.Refused("the supervisor is starting; try again")
        return self._table, time.monotonic()

    def _carry_out(self, effects: list[Effect]) -> None:
        """Do what the table wants, and what it wants because of that; then see to the timer and the router."""
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            try:
                queue.extend(self._carry_out_one(effect))
            except Exception:  # the others are none the worse; the table has a deadline for whatever does not happen
                log.exception("cannot carry out %s", effect)
        self._arm_table()
        self._tell_running()

    def _carry_out_one(self, effect: Effect) -> list[Effect]:
        match effect:
            case Spawn(id, epoch):
                return self._spawn(id, epoch)
            case RequestStop(id, epoch, deadline_s):
                running = self._children.get(id, epoch)
                if running is not None:
                    self.send(running.child.address, Stop(epoch, deadline_s))
            case Kill(id, epoch):
                return self._kill(id, epoch)
            case PersistPause(id, reason):
                self._pauses.keep(id, reason)
            case NoteEvicted(ids, memory):
                used, limit = f"{memory.percent:.0f} %", memory.limit_bytes // MIB
                log.warning("%s of %d MiB of memory are in use: stopping what is idle: %s", used, limit, ", ".join(ids))
            case BatchDone(key, results):
                asker = self._askers.take(key)
                self.send(asker.sender, LoadResults(asker.request_id, dict(results)))
            case Drained(key):
                asker = self._askers.take(key)
                self.send(asker.sender, Done(asker.request_id, os.getpid()))
        return []

    def _remember_pause(self, id: str, reason: str | None) -> None:
        assert self._records is not None
        self._records.remember_pause(id, reason)

    def _spawn(self, id: str, epoch: int) -> list[Effect]:
        table, now = self._table_now()
        assert self._config is not None
        started = self._children.start(id, epoch)
        if started is None:
            return table.spawn_failed(id, epoch, now=now, reason="no process could be started for it")
        own = dataclasses.replace(self._config, destinations={id: self._config.destinations[id]})
        self.send(started.child.address, Start(id, epoch, own.encode()))
        return table.spawned(id, epoch, now=now, pid=started.child.pid)

    def _kill(self, id: str, epoch: int) -> list[Effect]:
        table, now = self._table_now()
        child = self._children.get(id, epoch)
        if child is None:
            return table.exited(id, epoch, now=now)
        log.warning("%s: killing process %d: %s", id, child.child.pid, table.status(id).error)
        with contextlib.suppress(ProcessLookupError):  # gone already, and about to be seen
            self._children.kill(child)
        return []

    def _ended(self, running: children.Running) -> None:
        table, now = self._table_now()
        table.at(running.id, running.epoch, running.stage.read())
        self._carry_out(table.exited(running.id, running.epoch, now=now, how=running.child.ending()))

    def on_child_exited(self, address: ActorAddress) -> None:
        """One has ended, or is about to."""
        self._children.look_at(address)

    def _arm_table(self) -> None:
        table, now = self._table_now()
        deadline = table.next_deadline(now=now)
        if deadline is None:
            self.cancel("table")
        else:
            self.after(max(0.0, deadline - now), "table")

    def on_timer(self, name: object) -> None:
        """Something in the table is due, or a look at the memory."""
        table, now = self._table_now()
        if name == "memory":
            self.after(MEMORY_LOOK_S, "memory")
            memory = memory_use()  # also while nothing runs: a shortage may end meanwhile
            self._carry_out([] if memory is None else table.shed(memory, now=now))
            return
        for running in self._children:
            table.at(running.id, running.epoch, running.stage.read())
            table.seen(running.id, running.epoch, now=now, still=table.draining and running.stands_still)
        self._carry_out(table.tick(now=now))

    # -- the router -------------------------------------------------------------------------------------------------

    @handles(Ensure)
    def receiveMsg_Ensure(self, message: Ensure, sender: ActorAddress) -> None:
        """Load what is asked for; tell what runs."""
        self._router, self._told = sender, ()
        if self._table is not None:
            self._carry_out(self._table.ensure(message.ids, now=time.monotonic()))
            if not self._told:
                self.send(sender, Running(()))

    def _tell_running(self) -> None:
        table, _ = self._table_now()
        ids = table.running()
        if self._router is not None and ids != self._told:
            self._told = ids
            self.send(self._router, Running(ids))

    # -- destination actors -----------------------------------------------------------------------------------------

    @handles(Loaded)
    def receiveMsg_Loaded(self, message: Loaded, sender: ActorAddress) -> None:
        """One is ready."""
        table, now = self._table_now()
        self._carry_out(table.loaded(message.id, message.epoch, now=now, pid=message.pid))

    @handles(LoadFailed)
    def receiveMsg_LoadFailed(self, message: LoadFailed, sender: ActorAddress) -> None:
        """One could not load; if somebody had a later epoch than we knew, we learn it."""
        table, now = self._table_now()
        log.warning("%s: %s", message.id, message.reason)
        assert self._records is not None
        table.learn_epoch(message.id, self._records.epochs([message.id]).get(message.id, 0))
        effects = table.failed(message.id, message.epoch, now=now, reason=message.reason, permanent=message.permanent)
        self._carry_out(effects)

    @handles(Halted)
    def receiveMsg_Halted(self, message: Halted, sender: ActorAddress) -> None:
        """The vendor of one refuses us."""
        table, now = self._table_now()
        self._carry_out(table.halted(message.id, message.epoch, now=now, reason=message.reason))

    @handles(Progress)
    def receiveMsg_Progress(self, message: Progress, sender: ActorAddress) -> None:
        """One lives."""
        table, now = self._table_now()
        effects = table.progress(
            message.id,
            message.epoch,
            now=now,
            caught_up=message.caught_up,
            idle_s=message.idle_s,
            stalled_s=message.stalled_s,
            delivered=message.delivered,
            error=message.error,
            breaker=message.breaker,
            reason=message.reason,
            unknown_outcomes=message.unknown_outcomes,
            delivered_unenforced=message.delivered_unenforced,
            rests_s=message.rests_s,
        )
        self._carry_out(effects)

    # -- commands ---------------------------------------------------------------------------------------------------

    @handles(LoadBatch)
    def receiveMsg_LoadBatch(self, message: LoadBatch, sender: ActorAddress) -> None:
        """Load these, a few at a time."""
        self._load(message.request_id, message.ids, sender, batch_size=message.batch_size)

    @handles(Preload)
    def receiveMsg_Preload(self, message: Preload, sender: ActorAddress) -> None:
        """Load what this consent permits."""
        table, _ = self._table_now()
        assert self._config is not None
        destinations = self._config.destinations
        consent = named_consent(message.consent, self._config.purposes)
        ids = tuple(i for i in table.ids() if judge(destinations[i].requires, consent) is State.GRANTED)
        self._load(message.request_id, ids, sender)

    def _load(
        self, request_id: str, ids: tuple[str, ...], sender: ActorAddress, *, batch_size: int | None = None
    ) -> None:
        table, now = self._table_now()
        assert self._config is not None
        size = self._config.supervisor.load_batch_size if batch_size is None else batch_size
        key = self._askers.remember(request_id, sender)
        self._carry_out(table.load_batch(key, ids, now=now, batch_size=size))

    @handles(Unload)
    def receiveMsg_Unload(self, message: Unload, sender: ActorAddress) -> None:
        """Stop one; answered when that has begun."""
        table, now = self._table_now()
        note = table.pointless(Command.UNLOAD, message.id)
        self._carry_out(table.unload(message.id, now=now))
        self._done(message.request_id, sender, note)

    @handles(Pause)
    def receiveMsg_Pause(self, message: Pause, sender: ActorAddress) -> None:
        """Stop one for longer."""
        table, now = self._table_now()
        note = "" if self._pauses.lacks(message.id) else table.pointless(Command.PAUSE, message.id)
        self._carry_out(table.pause(message.id, now=now, reason=by_operator(table.paused(message.id))))
        self._done_if_kept(message, sender, note)

    @handles(Resume)
    def receiveMsg_Resume(self, message: Resume, sender: ActorAddress) -> None:
        """End a pause."""
        table, now = self._table_now()
        note = "" if self._pauses.lacks(message.id) else table.pointless(Command.RESUME, message.id)
        self._carry_out(self._pauses.owed(message.id) + table.resume(message.id, now=now))
        self._done_if_kept(message, sender, note)

    @handles(RetryLoad)
    def receiveMsg_RetryLoad(self, message: RetryLoad, sender: ActorAddress) -> None:
        """Try one now."""
        table, now = self._table_now()
        note = table.pointless(Command.RETRY, message.id)
        self._carry_out(table.retry(message.id, now=now))
        self._done(message.request_id, sender, note)

    @handles(Reset)
    def receiveMsg_Reset(self, message: Reset, sender: ActorAddress) -> None:
        """Forget one's failures."""
        table, now = self._table_now()
        note = table.pointless(Command.RESET, message.id)
        self._carry_out(table.reset(message.id, now=now))
        self._done(message.request_id, sender, note)

    @handles(ClearAll)
    def receiveMsg_ClearAll(self, message: ClearAll, sender: ActorAddress) -> None:
        """Stop all, forget all failures."""
        table, now = self._table_now()
        is_clear = all(table.pointless(c, id) for id in table.ids() for c in (Command.UNLOAD, Command.RESET))
        self._carry_out(table.clear_all(now=now))
        self._done(message.request_id, sender, "nothing is loaded, and there are no failures to forget" * is_clear)

    @handles(Drain)
    def receiveMsg_Drain(self, message: Drain, sender: ActorAddress) -> None:
        """Stop all for good; answered when all have ended."""
        table, now = self._table_now()
        key = self._askers.remember(message.request_id, sender)
        self._carry_out(table.drain_all(key, now=now, deadline_s=message.deadline_s))

    # -- questions --------------------------------------------------------------------------------------------------

    @handles(GetStatus)
    def receiveMsg_GetStatus(self, message: GetStatus, sender: ActorAddress) -> None:
        """Loading states and accounts."""
        table, _ = self._table_now()
        assert self._config is not None and self._records is not None
        removed = self._records.removed
        asked = (*table.ids(), *removed) if message.ids is None else message.ids
        states = [table.status(id) for id in asked if id not in removed]
        statuses = describe(states, self._config.destinations, self._records)
        if not removed.keys().isdisjoint(asked):
            statuses += tuple(one for one in describe_removed(self._records) if one.id in asked)
        self.send(sender, Statuses(message.request_id, statuses, table.stats()))

    @handles(GetStats)
    def receiveMsg_GetStats(self, message: GetStats, sender: ActorAddress) -> None:
        """The counts alone."""
        table, _ = self._table_now()
        self.send(sender, StatsAnswer(message.request_id, table.stats()))

    @handles(IsLoaded)
    def receiveMsg_IsLoaded(self, message: IsLoaded, sender: ActorAddress) -> None:
        """Whether one is loaded."""
        table, _ = self._table_now()
        self.send(sender, IsLoadedAnswer(message.request_id, table.status(message.id).loaded))

    @handles(AreYouThere)
    def receiveMsg_AreYouThere(self, message: AreYouThere, sender: ActorAddress) -> None:
        """Yes."""
        self._done(message.request_id, sender, "")

    # -- the rest ---------------------------------------------------------------------------------------------------

    def on_error(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        """Whoever asked is told."""
        request_id = getattr(message, "request_id", None)
        if isinstance(message, Message) and request_id is not None:
            known = isinstance(error, errors.SluicegateError)
            self.send(sender, Refused(request_id, str(error) if known else f"failed: {type(error).__name__}: {error}"))

    def _done(self, request_id: str, sender: ActorAddress, pointless: str) -> None:
        self.send(sender, Done(request_id, os.getpid(), not pointless, pointless))

    def _done_if_kept(self, message: Pause | Resume, sender: ActorAddress, pointless: str) -> None:
        """Answer `Done`, or `Refused` when a restart would undo the command."""
        if refusal := self._pauses.refusal(message.id):
            self.send(sender, Refused(message.request_id, refusal))
        else:
            self._done(message.request_id, sender, pointless)

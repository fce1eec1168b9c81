"""A destination actor: one process for one destination; its worker thread delivers, the actor only answers."""

from __future__ import annotations

import os

from setproctitle import setproctitle
from thespian.actors import ActorAddress, ActorExitRequest

from sluicegate import failpoints
from sluicegate.actors import stages
from sluicegate.actors.base import SafeActor, handles
from sluicegate.actors.scheduling import Room, stand_back
from sluicegate.config.model import Config
from sluicegate.delivery.plugin import error_text
from sluicegate.delivery.report import Report, ReportKind, Snapshot
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.logs import be_part
from sluicegate.memory import collect_seldom, keep_freed_memory
from sluicegate.messages.codec import Message
from sluicegate.messages.control import Halted, Loaded, LoadFailed, Progress, Start, Stop
from sluicegate.paths import DataDir
from sluicegate.registry import registrations

LOOK_S = 0.25
PROGRESS_S = 5.0
FAREWELL_S = 0.1  # between the last message and the end, so that the one does not overtake the other
EXIT_TIMEOUT_S = 5.0


class DestinationActor(SafeActor):
    """Child of the supervisor; `Start` comes first and once."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor: ActorAddress | None = None
        self._worker: DeliveryWorker | None = None
        self._id = ""
        self._epoch = 0
        self._progress_s = PROGRESS_S
        self._told: Snapshot | None = None
        self._silent_s = 0.0

    @handles(Start)
    def receiveMsg_Start(self, message: Start, sender: ActorAddress) -> None:
        """Become this destination: from here on the worker reports and `Progress` flows."""
        setproctitle(f"sluicegate: destination {message.id}")
        be_part("destination", destination=message.id)
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_SPAWN)
        stand_back()
        keep_freed_memory()
        collect_seldom()
        config = Config.decode(message.config)
        data_dir = DataDir(config.data_dir)
        self._supervisor, self._id, self._epoch = sender, message.id, message.epoch
        shortest_s = min(config.supervisor.idle_ttl_s or PROGRESS_S, config.supervisor.stall_timeout_s)
        self._progress_s = min(PROGRESS_S, shortest_s / 4)
        reports = self.open_inbox(self._take_reports)
        self._worker = DeliveryWorker(
            config.destinations[message.id],
            data_dir,
            message.epoch,
            reports.put,
            start_offset=registrations(data_dir)[message.id].start,
            consent=config.consent,
            at=stages.own_cell().write,
            on_keeping_up=Room().leave,
        )
        self._worker.start()
        self.after(LOOK_S, "look")

    @handles(Stop)
    def receiveMsg_Stop(self, message: Stop, sender: ActorAddress) -> None:
        """Finish what is in flight, then end."""
        if self._worker is None:
            self._leave()
        else:
            self._worker.stop(message.deadline_s)

    def on_timer(self, name: object) -> None:
        """Tell the supervisor how things stand when something has changed, or when it is time for a sign of life."""
        if name == "leave":
            self.send(self.myAddress, ActorExitRequest())
            return
        assert self._worker is not None
        self._silent_s += LOOK_S
        now = self._worker.snapshot()
        if self._silent_s >= self._progress_s or _differs(now, self._told):
            self._tell_progress(now)
        self.after(LOOK_S, "look")

    def _tell_progress(self, now: Snapshot) -> None:
        self._told, self._silent_s = now, 0.0
        self._tell(
            Progress(
                self._id,
                self._epoch,
                cursor=now.cursor,
                caught_up=now.caught_up,
                idle_s=now.idle_s,
                stalled_s=now.stalled_s,
                delivered=now.delivered,
                error=now.error,
                breaker=now.breaker,
                reason=now.reason,
                unknown_outcomes=now.unknown_outcomes,
                delivered_unenforced=now.delivered_unenforced,
                rests_s=now.rests_s,
            )
        )

    def _take_reports(self, reports: list[Report]) -> None:
        for report in reports:
            match report.kind:
                case ReportKind.LOADED:
                    self._tell(Loaded(self._id, self._epoch, os.getpid()))
                case ReportKind.HALTED:
                    self._tell(Halted(self._id, self._epoch, report.reason))
                case ReportKind.FAILED | ReportKind.SUPERSEDED:
                    self._tell(LoadFailed(self._id, self._epoch, report.reason, permanent=report.permanent))
            if report.kind is not ReportKind.LOADED:
                self._leave()

    def _leave(self) -> None:
        self.cancel("look")
        self.after(FAREWELL_S, "leave")

    def _tell(self, message: Message) -> None:
        assert self._supervisor is not None
        self.send(self._supervisor, message)

    def on_error(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        """One that could not even begin tells why, and ends: nobody has to wait for it."""
        if isinstance(message, Start):
            self.send(sender, LoadFailed(message.id, message.epoch, error_text(error)))
            self._leave()

    def on_exit(self) -> None:
        """The actor system goes down: let the worker commit what it has."""
        if self._worker is not None:
            self._worker.stop(EXIT_TIMEOUT_S)
            self._worker.join(EXIT_TIMEOUT_S)


def _differs(now: Snapshot, told: Snapshot | None) -> bool:
    def told_of(one: Snapshot) -> tuple[object, ...]:
        return one.error, one.caught_up, one.breaker, one.reason

    return told is None or told_of(now) != told_of(told)

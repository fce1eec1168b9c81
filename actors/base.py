"""The base class of our actors: a handler that fails never takes the actor or its message with it."""

from __future__ import annotations

import functools
import logging
import os
import signal
import stat
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar, TypeVar

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from sluicegate.actors.inbox import Inbox
from sluicegate.actors.timers import Timers

Handler = TypeVar("Handler", bound=Callable[..., None])
Item = TypeVar("Item")

_PREFIX = "receiveMsg_"

_log = logging.getLogger(__name__)


def handles(*message_types: type) -> Callable[[Handler], Handler]:
    """Mark a method as the handler of messages of exactly these classes; it gets the message and its sender."""

    def mark(method: Handler) -> Handler:
        method.message_types = message_types  # type: ignore[attr-defined]
        return method

    return mark


@dataclass(frozen=True, slots=True)
class Child:
    """An actor that was started by another one: where to reach it, and its process."""

    address: ActorAddress
    pid: int
    process: BaseProcess

    def ending(self) -> str:
        """How its process has ended, in words; empty while that is not known."""
        try:
            code = self.process.exitcode
        except ValueError:  # its record has been closed
            return ""
        if code is None:
            return ""
        return f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"


class SafeActor(Actor):
    """Dispatches messages by their exact class, keeps timers and watched files, and contains every error.

    Handlers are marked with `@handles(MessageClass)`. An error in one is logged and given to `on_error`; Thespian
    would deliver the message a second time. `__init__` of a subclass must do nothing but set attributes: no send,
    no timer, no file; the first message is the place for those.

    For subclasses to override: `on_timer`, `on_child_exited`, `on_dead_letter`, `on_exit`, `on_error`.
    """

    _handlers: ClassVar[dict[type, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = dict(cls._handlers)
        for name, method in vars(cls).items():
            message_types = getattr(method, "message_types", ())
            if name.startswith(_PREFIX) and not message_types:
                raise TypeError(f"{cls.__name__}.{name} is not marked with @handles")
            cls._handlers.update(dict.fromkeys(message_types, name))

    def __init__(self) -> None:
        super().__init__()
        self._timers = Timers()
        self._armed_at: float | None = None
        self._generation = 0
        self._watched: dict[int, Callable[[], None]] = {}
        self._strangers: set[type] = set()

    # For subclasses to override

    def on_timer(self, name: Hashable) -> None:
        """A timer that was armed with `after` is due."""

    def on_child_exited(self, address: ActorAddress) -> None:
        """A child has ended, for whatever reason. Comes twice for some; a later child may have the same address."""

    def on_dead_letter(self, address: ActorAddress, message: object) -> None:
        """A message could not be delivered because nobody listens there any more."""

    def on_exit(self) -> None:
        """The actor is asked to end; children are asked afterwards. It ends as soon as this returns."""

    def on_error(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        """A handler failed; the error has been logged. The place to tell the sender."""

    # For subclasses to use

    def after(self, delay_s: float, name: Hashable) -> None:
        """Call `on_timer(name)` in so many seconds; a timer of that name that is armed already is moved."""
        self._timers.set(name, time.monotonic() + delay_s)
        self._arm()

    def cancel(self, name: Hashable) -> None:
        """Disarm the timer of that name, if it is armed."""
        self._timers.cancel(name)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever this pipe, socket, eventfd, inotify or pidfd is readable; `unwatch` before closing it.

        The callback has to read what is there, or it is called again at once.
        """
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("a regular file cannot be watched")
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching, if it is watched."""
        self._watched.pop(fd, None)

    def open_inbox(self, callback: Callable[[list[Any]], None]) -> Inbox[Any]:
        """An inbox for the threads of this process; the callback gets all items that were put since the last time."""
        inbox: Inbox[Any] = Inbox()

        def drain() -> None:
            if items := inbox.drain():  # a signal may come after its item was taken with those before
                callback(items)

        self.watch(inbox.fileno(), drain)
        return inbox

    def create_child(self, actor_class: type[Actor]) -> Child | None:
        """Start a child in a process of its own; None when the process could not be forked.

        Messages may be sent to it at once; `on_child_exited` tells of its end. Its `__init__` has not run yet.
        """
        known = len(self._processes())
        address = self.createActor(actor_class)
        started = self._processes()[known:]
        if not started:
            return None
        process = started[0].childProc
        return Child(address, process.pid, process)

    def forget_child(self, child: Child) -> None:
        """Have Thespian forget a child whose process is gone; call it when that is seen by other means than Thespian's.

        Thespian handles the end of one child by dropping the records of all that are dead by then, and tells of the
        others only if their own farewell arrives. Then it waits for them when the system stops, to no end: the errors
        of its requests to them are all put down to the last one (`ActorManager._shutdownActor`). And what was sent to a
        child that ended before it had told its address it keeps for ever.
        """
        address = self._myRef._addrManager.exportAddr(child.address)
        if address is None:
            self._myRef._awaitingAddressUpdate.remove_intents_for_address(child.address)
        elif address in self._myRef.childAddresses:
            self._myRef._handleChildExited(address)

    # What Thespian calls

    def receiveMessage(self, message: object, sender: ActorAddress) -> ThespianWatch | None:
        """Handle a message; the answer to Thespian is what to watch, after every message anew."""
        try:
            self._dispatch(message, sender)
        except BaseException as error:  # also SystemExit: a plugin must not end the actor by sys.exit
            self._contain(message, sender, error)
        return ThespianWatch(list(self._watched)) if self._watched else None

    def _dispatch(self, message: object, sender: ActorAddress) -> None:
        name = self._handlers.get(type(message))
        if name is not None:
            getattr(self, name)(message, sender)
            return
        match message:
            case WakeupMessage():
                self._wake(message.payload)
            case WatchMessage():
                self._look(message.ready)
            case ChildActorExited():
                self.on_child_exited(message.childAddress)
            case ActorExitRequest():
                self.on_exit()
            case DeadEnvelope():
                self.on_dead_letter(message.deadAddress, message.deadMessage)
            case PoisonMessage():
                _log.warning("%s was not handled by its receiver", type(message.poisonMessage).__name__)
            case _ if type(message) not in self._strangers:
                self._strangers.add(type(message))
                _log.warning("%s does not handle %s", type(self).__name__, type(message).__qualname__)

    def _contain(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        """Log an error and give it to the subclass, whose own errors end here too."""
        _log.error("%s failed at %s", type(self).__name__, type(message).__name__, exc_info=error)
        try:
            self.on_error(message, sender, error)
        except BaseException:
            _log.exception("%s failed in on_error", type(self).__name__)

    def _arm(self) -> None:
        """Have Thespian wake us for the first timer, unless it will do so early enough anyway.

        Wake-ups cannot be cancelled: those that have been superseded are known by their generation.
        """
        first = self._timers.next_deadline()
        if first is None or (self._armed_at is not None and self._armed_at <= first):
            return
        self._armed_at = first
        self._generation += 1
        self.wakeupAfter(timedelta(seconds=max(0.0, first - time.monotonic())), self._generation)

    def _wake(self, generation: object) -> None:
        """Call `on_timer` for what is due, each by itself, in the order of the deadlines."""
        if generation != self._generation:
            return
        self._armed_at = None
        for name in self._timers.take_due(time.monotonic()):
            self._guarded(functools.partial(self.on_timer, name))
        self._arm()

    def _look(self, ready: list[int]) -> None:
        """Call back for every readable file that is still watched, each by itself."""
        for fd in ready:
            if callback := self._watched.get(fd):
                self._guarded(callback)

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call without letting an error get to the calls that follow."""
        try:
            call()
        except BaseException as error:
            self._contain(None, self.myAddress, error)

    def _processes(self) -> list[Any]:
        """Thespian's records of the children that this actor has forked and that have not been found dead."""
        found: list[Any] = getattr(self._myRef, "_child_procs", [])
        return found


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""Asking the supervisor how the destinations do, from the gateway's process."""

from __future__ import annotations

import logging
from uuid import uuid4

from sluicegate.config.model import Config
from sluicegate.errors import SluicegateError
from sluicegate.messages.status import GetStatus, Statuses
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 1.5
SUPERVISOR = "sluicegate.supervisor"


class SupervisorStatus:
    """A status provider that attaches to the running actor system for each question.

    It is for one thread at a time. What it imports is imported at the first question: a gateway that nobody scrapes
    does not carry the actor library.
    """

    def __init__(self, config: Config) -> None:
        self._data_dir = DataDir(config.data_dir)

    def __call__(self) -> Statuses | None:
        """The status of all destinations; None when the supervisor does not answer."""
        try:
            return self._ask()
        except (SluicegateError, OSError) as error:
            log.info("the supervisor cannot be asked: %s", error)
            return None

    def _ask(self) -> Statuses | None:
        from sluicegate.actors.keys import load_key
        from sluicegate.actors.system import attach
        from sluicegate.running import find_running

        port = find_running(self._data_dir).actor_port
        with attach(port=port, key=load_key(self._data_dir.actor_key)) as system:
            supervisor = system.find(SUPERVISOR)
            if supervisor is None:
                return None
            answer = system.ask(supervisor, GetStatus(uuid4().hex), timeout_s=ASK_TIMEOUT_S)
        return answer if isinstance(answer, Statuses) else None

"""Having destinations loaded, and waiting for how that ends."""

from __future__ import annotations

from collections.abc import Mapping

from sluicegate.client import Client
from sluicegate.errors import NotRunning, NotSent, Refused
from sluicegate.messages.control import LoadBatch, LoadResults, Preload

LOAD_TIMEOUT_S = 120.0


def load_all(client: Client, request: LoadBatch | Preload) -> Mapping[str, str | None]:
    """How each load has ended, as in `LoadResults`; raises `Refused` when that takes longer than a command waits.

    Raises `NotRunning` only when no supervisor answers any more.
    """
    try:
        answer = client.ask_supervisor(request, timeout_s=LOAD_TIMEOUT_S)
    except NotSent:
        raise
    except NotRunning:
        client.status()
        raise Refused("not all loads have ended; what goes on is told by `sluicegate status`") from None
    assert isinstance(answer, LoadResults)
    return answer.results

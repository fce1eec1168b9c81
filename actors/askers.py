"""Those who wait for an answer that comes later."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who waits for the answer to one request."""

    request_id: str
    sender: ActorAddress


class Askers:
    """Known by keys of our own: request ids are chosen by senders and need not differ between them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Asker] = {}
        self._before = 0

    def remember(self, request_id: str, sender: ActorAddress) -> str:
        """Keep who asked; the key to `take` them by."""
        self._before += 1
        key = str(self._before)
        self._waiting[key] = Asker(request_id, sender)
        return key

    def take(self, key: str) -> Asker:
        """Who is to be answered now."""
        return self._waiting.pop(key)

"""What the demo shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sluicegate.messages.status import Statuses
from sluicegate.scripts.tables import plain_line, status_table

READING_S = 1.5


class View:
    """Shows the story's lines and, below them or between them, the state of all destinations."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line of the story."""
        console = self._live.console if self._live else self._console
        console.print(Text(f"» {text}", style="bold cyan"), soft_wrap=True)

    def pause(self) -> None:
        """Time to read, for a person; programs need none."""
        if self._live:
            time.sleep(READING_S)

    def show(self, statuses: Statuses) -> None:
        """The state of all destinations; as plain lines, only those whose state has changed."""
        if self._live:
            self._live.update(status_table(statuses.destinations), refresh=True)
            return
        for one in statuses.destinations:
            seen = f"{one.state}/{one.epoch}"
            if self._states.get(one.id) != seen:
                self._states[one.id] = seen
                self._console.print(Text("  " + plain_line(one)), soft_wrap=True)

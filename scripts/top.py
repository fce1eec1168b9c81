"""The `top` command: all destinations, live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from sluicegate.client import Client
from sluicegate.errors import NotRunning, Refused
from sluicegate.messages.status import DestinationStatus
from sluicegate.scripts.options import Seconds, connect, find_data_dir, system_options
from sluicegate.scripts.status import ask_status, count_suppressed
from sluicegate.scripts.tables import status_table

ANSWER_TIMEOUT_S = 3.0


@click.command()
@click.option(
    "--interval",
    "interval_s",
    default=1.0,
    show_default=True,
    type=Seconds(min=0.1),
    help="Seconds between two looks.",
)
@system_options
def top(interval_s: float, config_path: Path | None, data_dir: Path | None) -> None:
    """Watch all destinations until Ctrl-C, also while the system or a part of it is restarted."""
    try:
        where = find_data_dir(config_path, data_dir)  # once: the configuration may be edited meanwhile
        with connect(None, where.root, timeout_s=ANSWER_TIMEOUT_S) as client:
            looks = Looks(client, lambda: count_suppressed(where))
            with Live(console=Console(), auto_refresh=False) as live:
                while True:
                    live.update(looks.next(time.strftime("%H:%M:%S")), refresh=True)
                    time.sleep(interval_s)
    except KeyboardInterrupt:
        pass  # how one leaves it


class Looks:
    """One picture of the system after the other; what was seen last stays while nobody answers."""

    def __init__(self, client: Client, count_suppressed: Callable[[], int]) -> None:
        self._client = client
        self._count_suppressed = count_suppressed
        self._seen: Sequence[DestinationStatus] = ()
        self._n_suppressed = 0

    def next(self, title: str) -> RenderableType:
        """The picture as it is now."""
        try:
            self._seen = ask_status(self._client).destinations
            self._n_suppressed = self._count_suppressed()
        except (NotRunning, Refused) as error:
            away = Text(f" restarting: this is what was seen last ({error})", style="yellow")
            return Group(self._table(title), away)
        return self._table(title)

    def _table(self, title: str) -> RenderableType:
        return status_table(self._seen, title=title, n_suppressed=self._n_suppressed)

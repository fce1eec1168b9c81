"""Progress bars on standard error, for people at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress


def bars(*, as_json: bool) -> Progress:
    """Bars that are gone afterwards; none for programs, nor where nobody watches."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=as_json or not console.is_terminal)

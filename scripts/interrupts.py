"""Signals that end a command which has to clean up behind itself."""

from __future__ import annotations

import signal
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupting() -> list[signal.Signals]:
    """SIGINT, SIGTERM and SIGHUP, but no hang-up that is ignored, as below `nohup`: it is to stay ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in _NUMBERS if not (ignored and number is signal.SIGHUP)]


class Interrupts:
    """The signals that end a command as `KeyboardInterrupt`, also where Python drops exceptions (`__del__`)."""

    def __init__(self) -> None:
        self._interrupted = False

    def __enter__(self) -> Interrupts:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._interrupt) for number in interrupting()}
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise again for a signal that has come."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

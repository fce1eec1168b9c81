from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from sluicegate.scripts.interrupts import Interrupts


@pytest.fixture
def hang_up() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_command_interrupt_it(number: signal.Signals, hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_hang_up_that_is_ignored_stays_ignored(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGHUP)
        interrupts.check()

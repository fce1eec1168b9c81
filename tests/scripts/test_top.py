from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from sluicegate.actors.processes import processes
from sluicegate.messages.control import LoadBatch
from tests.end_to_end.harness import ARCHIVE, PATIENCE_S, MakeSystem, System, poll


class Screen:
    """`sluicegate top` on a terminal of its own, and what it has written there."""

    def __init__(self, running: System) -> None:
        self._ours, theirs = pty.openpty()
        environ = {**running.environ, "SLUICEGATE_CONFIG": str(running.config_path), "TERM": "xterm", "COLUMNS": "100"}
        command = [sys.executable, "-m", "sluicegate.scripts.admin", "top", "--interval", "0.1"]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
        )
        os.close(theirs)
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._written += os.read(self._ours, 65536)
            except OSError:  # the other side is closed
                return

    def shows(self, text: str, after: int = 0) -> int:
        """Wait until it is shown, later than a place that was returned before."""

        def look() -> int:
            return self._written.find(text.encode(), after) + 1

        try:
            found: int = poll(f"top to show {text}", look)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._written[after:].decode(errors='replace')[-3000:]}") from None
        return found

    @property
    def length(self) -> int:
        return len(self._written)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)


Watch = Callable[[System], Screen]


@pytest.fixture
def watch() -> Iterator[Watch]:
    made: list[Screen] = []

    def on(running: System) -> Screen:
        made.append(Screen(running))
        return made[-1]

    yield on
    for one in made:
        one.close()


def pid_of_supervisor(running: System) -> int:
    running.admin("load", "archive")
    archive = running.status("archive").pid
    (supervisor,) = [process.parent for process in processes() if process.pid == archive]
    return supervisor


def test_top_goes_on_over_a_restart_of_the_supervisor_and_ctrl_c_ends_it(system: MakeSystem, watch: Watch) -> None:
    running = system(ARCHIVE).start()
    supervisor = pid_of_supervisor(running)
    screen = watch(running)
    screen.shows("loaded")

    os.kill(supervisor, signal.SIGSTOP)
    restarting = screen.shows("restarting")
    with contextlib.suppress(ProcessLookupError):  # somebody else may have lost patience with it before
        os.kill(supervisor, signal.SIGKILL)
    poll("another supervisor", lambda: running.until("archive", "known", lambda s: True))
    again = screen.shows("registered", after=restarting)
    screen.process.send_signal(signal.SIGINT)

    assert again > restarting
    assert screen.process.wait(PATIENCE_S) == 0


def test_top_goes_on_over_a_restart_of_the_whole_system(system: MakeSystem, watch: Watch) -> None:
    running = system(ARCHIVE).start()
    screen = watch(running)
    screen.shows("registered")

    running.stop()
    stopped = screen.shows("restarting")
    running.start()
    running.admin("load", "archive")
    screen.shows("loaded", after=stopped)
    screen.process.send_signal(signal.SIGINT)

    assert screen.process.wait(PATIENCE_S) == 0


def test_top_goes_on_while_somebody_edits_the_configuration(system: MakeSystem, watch: Watch) -> None:
    running = system(ARCHIVE).start()
    screen = watch(running)
    screen.shows("registered")

    running.config_path.write_text("[gateway")
    edited = screen.length
    running.client.ask_supervisor(LoadBatch("load", ("archive",)), timeout_s=PATIENCE_S)
    screen.shows("loaded", after=edited)
    screen.process.send_signal(signal.SIGINT)

    assert screen.process.wait(PATIENCE_S) == 0


def test_top_without_a_running_system_exits_with_3(system: MakeSystem) -> None:
    answer = system(ARCHIVE).admin("top")

    assert answer.returncode == 3

"""A gateway process as the launcher starts it, with what tests need to watch it from outside."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.config.model import Config, DestinationConfig, Requirement
from sluicegate.config.secret import Secret
from sluicegate.consent.ledger import Ledger
from sluicegate.paths import DataDir
from tests.gateway.harness import PATIENCE_S, make_config, stored_events
from tests.hostile.case import REGULATION_KEY

PROGRAM = """
import json, resource, socket, sys
from contextlib import suppress
from pathlib import Path
from sluicegate.config.model import Config
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.server import run
_, config, limits, listener, control = sys.argv
config = Config.decode(Path(config).read_bytes())
listener = socket.socket(fileno=int(listener))
sys.exit(run(config, listen_socket=listener, control_fd=int(control), limits=Limits(**json.loads(limits))))
"""
MIB = 1 << 20


class Gateway:
    """Started by the constructor, ended by `close`; its log is a file in its folder.

    With `has_ledger` there is a consent ledger, as in a system that has run before.
    """

    def __init__(self, folder: Path, *, max_fds: int | None = None, has_ledger: bool = False, **limits: float) -> None:
        # Somebody wants to hear of decisions: what tells one has further to go.
        mirror = DestinationConfig("mirror", "file", Requirement(("necessary",)), receives_consent_events=True)
        regulation_keys = {"privacy": Secret(REGULATION_KEY.decode())}
        self.config: Config = replace(
            make_config(folder, regulation_keys=regulation_keys), destinations={mirror.id: mirror}
        )
        if has_ledger:
            data_dir = DataDir(self.config.data_dir)
            Ledger(data_dir.consent, data_dir.consent_key).close()
        encoded = folder / "config"
        encoded.write_bytes(self.config.encode())
        self.log_file = folder / "gateway.log"
        listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = listener.getsockname()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(PATIENCE_S)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *([] if max_fds is None else ["prlimit", f"--nofile={max_fds}:{max_fds}"]),
                    *(sys.executable, "-c", PROGRAM, str(encoded), json.dumps(limits)),
                    *(str(listener.fileno()), str(theirs.fileno())),
                ],
                pass_fds=(listener.fileno(), theirs.fileno()),
                stderr=log,
            )
        listener.close()
        theirs.close()
        assert b"listening" in self._control.recv(4_096)
        self._control.sendall(b'{"ready": true, "reasons": []}\n')

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text()

    @property
    def n_fds(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def n_sockets(self) -> int:
        """Open sockets; the number of files changes when the log is looked after."""
        n_found = 0
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                n_found += os.readlink(link).startswith("socket:")
        return n_found

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def stored(self) -> list[dict[str, Any]]:
        """Every event in its log."""
        return stored_events(self.config)

    def close(self) -> int:
        """End it in good order; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(PATIENCE_S)
        self._control.close()
        return code

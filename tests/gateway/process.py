"""A gateway in a process of its own, as the launcher starts it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys

from sluicegate.config.model import Config
from tests.gateway.harness import PATIENCE_S

PROGRAM = """
import socket, sys
from pathlib import Path
from sluicegate.config.model import Config
from sluicegate.gateway.server import run
config = Config.decode(Path(sys.argv[1]).read_bytes())
sys.exit(run(config, listen_socket=socket.socket(fileno=int(sys.argv[2])), control_fd=int(sys.argv[3])))
"""


class GatewayProcess:
    """A gateway as the launcher starts it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        encoded = config.data_dir / "config"
        encoded.write_bytes(config.encode())
        listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = listener.getsockname()
        self.control, theirs = socket.socketpair()
        self.control.settimeout(PATIENCE_S)
        self._lines = self.control.makefile("rb")
        arguments = [str(encoded), str(listener.fileno()), str(theirs.fileno())]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            pass_fds=(listener.fileno(), theirs.fileno()),
            stderr=subprocess.PIPE,
        )
        listener.close()
        theirs.close()

    def told(self) -> dict[str, str]:
        """The next thing the gateway tells the launcher."""
        line: dict[str, str] = json.loads(self._lines.readline())
        return line

    def tell(self, **what: object) -> None:
        self.control.sendall(json.dumps(what).encode() + b"\n")

    def ready(self) -> int:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)
        connection.request("GET", "/ready")
        status = connection.getresponse().status
        connection.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._lines.close()
        self.control.close()

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

PASSWORD = "owner-password"


class PostgresCluster:
    """A private PostgreSQL on a loopback port: made by initdb in a temporary folder, never run as root."""

    def __init__(self, binaries: Path, port: int) -> None:
        self.port = port
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="sluicegate-postgres-"))
        self._data = self._folder / "data"
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        if self._user:
            for path in (self._folder, password_file):
                shutil.chown(path, self._user)
        self._run("initdb", "-D", self._data, "-U", "owner", "--auth=scram-sha-256", f"--pwfile={password_file}", "-N")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40"
        self._run("pg_ctl", "-D", self._data, "-w", "-o", options, "-l", self._folder / "log", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def dsn(self) -> str:
        return f"postgresql://owner:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def socket_folder(self) -> Path:
        return self._folder

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        subprocess.run(
            command,
            user=self._user,
            cwd=self._folder,
            check=True,
            capture_output=program == "initdb",
            stdin=subprocess.DEVNULL,
            stdout=None if program == "initdb" else subprocess.DEVNULL,
        )


def find_binaries() -> Path | None:
    """Where initdb is: Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def running_cluster() -> Iterator[PostgresCluster]:
    """A cluster for as long as a fixture needs it; skips where there is no PostgreSQL."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; scripts/peers installs it on Debian")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = PostgresCluster(binaries, port)
    try:
        yield running
    finally:
        running.close()

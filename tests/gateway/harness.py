"""A gateway on its own loop in a thread, and raw sockets to talk to it."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import uvloop

from sluicegate.config.model import Config, GatewayConfig, LogConfig, SupervisorConfig
from sluicegate.config.secret import Secret
from sluicegate.errors import LogError
from sluicegate.eventlog.base import EventLog
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.probes import StatusProvider
from sluicegate.gateway.server import Server
from sluicegate.paths import DataDir

KEY = "web-key"
BASIC = b"Authorization: Basic " + base64.b64encode(KEY.encode() + b":") + b"\r\n"
PATIENCE_S = 10.0


EVERY_EVENT = LogConfig(dedup_window_s=0)
"""For tests that send the same ids again."""


def make_config(folder: Path, *, log: LogConfig = EVERY_EVENT, **gateway: Any) -> Config:
    gateway = {"write_keys": {"web": Secret(KEY), "shop": Secret("shop-key")}, **gateway}
    data_dir = DataDir(folder / "data")
    data_dir.create()
    if not data_dir.event_log.exists():
        SqliteLog(data_dir.event_log).close()
    return Config(
        data_dir=data_dir.root,
        gateway=GatewayConfig(port=0, **gateway),
        supervisor=SupervisorConfig(),
        destinations={},
        log=log,
    )


class RunningGateway:
    """Started by the constructor, ended by `close`."""

    def __init__(
        self,
        config: Config,
        *,
        limits: Limits | None = None,
        open_log: Callable[[], EventLog] | None = None,
        status_provider: StatusProvider | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.fatal: SimpleQueue[LogError] = SimpleQueue()
        self.address: tuple[str, int] = ("", 0)
        self._options: dict[str, Any] = {
            "limits": limits,
            "open_log": open_log,
            "status_provider": status_provider or (lambda: None),
            "on_fatal": self.fatal.put,
            "clock": clock,
        }
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as error:
            self._error = error
            self._started.set()

    async def _main(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.server = Server(self.config, **self._options)
        self.server.readiness.launcher_says(True, ())
        await self.server.start(listener)
        self.address = listener.getsockname()
        self._started.set()
        await self._end.wait()
        await self.server.stop()

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the gateway's loop."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def begin_close(self) -> None:
        self.loop.call_soon_threadsafe(self._end.set)

    def close(self) -> None:
        if self._thread.is_alive():
            self.begin_close()
            self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def client(self) -> Client:
        return Client(self.address)

    def stored(self) -> list[dict[str, Any]]:
        """Every event in the log, decoded."""
        return stored_events(self.config)


def stored_events(config: Config) -> list[dict[str, Any]]:
    log = SqliteLog(DataDir(config.data_dir).event_log)
    try:
        rows = log.read(0, max_events=1_000_000, max_bytes=1 << 30)
        return [json.loads(event) for row in rows for event in log.events(row)]
    finally:
        log.close()


class Answered:
    """One answer as the client sees it."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A raw connection, so that tests can send what no HTTP library would."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, head: bool = False) -> Answered:
        """The next answer; `head` when it answers a HEAD request."""
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers: dict[str, str] = {}
        while (field := self._file.readline()) != b"\r\n":
            name, _, value = field.decode().partition(": ")
            assert name.lower() not in headers, "a header came twice"
            headers[name.lower()] = value.rstrip("\r\n")
        length = 0 if head or "content-length" not in headers else int(headers["content-length"])
        return Answered(int(line.split()[1]), headers, self._file.read(length))

    def ask(self, data: bytes, *, head: bool = False) -> Answered:
        self.send(data)
        return self.answer(head=head)

    def post(self, path: str, body: object, *, headers: bytes = BASIC) -> Answered:
        return self.ask(request(path, body, headers=headers))

    def get(self, path: str) -> Answered:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def ended(self) -> bool:
        """Whether the gateway closes the connection without another word."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def request(path: str, body: object, *, headers: bytes = BASIC, method: str = "POST") -> bytes:
    """A whole request; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n".encode() + headers + b"\r\n" + data


def track(message_id: str = "m1", **more: object) -> dict[str, object]:
    return {"type": "track", "event": "Seen", "userId": "u1", "messageId": message_id, **more}


def batch(*message_ids: str) -> dict[str, object]:
    return {"batch": [track(message_id) for message_id in message_ids]}

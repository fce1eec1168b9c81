"""The oracle: a program that issues events over HTTP and writes down what it was promised. It is never killed.

    python -m tests.faults.oracle HOST:PORT SEED JOURNAL

Each connection sends one request at a time. What is sent is written to the journal before it goes out, and a 200,
which is an obligation, before the connection's next request. A request without a 200 is sent again with the same ids,
as an SDK does, or given up, and then its events may or may not arrive. Orders come as lines of JSON on stdin, each
answered by one line on stdout:

    {"do": "run", "connections": 4, "pause_s": 0.02, "timeout_s": 5, "give_up": 0.2}    begin to send
    {"do": "counts"}                                                                 {"acked": 12, "failed": 0, ...}
    {"do": "finish"}                 send no new requests, see those in hand through: {"acked": ..., ...}
    {"do": "burst", "connections": 1000}                         as many requests at once, one event each
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.canaries import WRITE_KEYS
from tests.faults.events import event_of, source_of

MAX_BATCH = 8
RETRY_PAUSE_S = 0.03
FINISH_S = 60.0


class Journal:
    """Lines of JSON, each on its way to the file when `write` returns; for any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, what: str, ids: list[str], **more: Any) -> None:
        """Write down that this happened to these ids now."""
        line = json.dumps({"t": time.time(), "what": what, "ids": ids, **more}).encode() + b"\n"
        with self._lock:
            self._file.write(line)


def body_of(ids: list[str]) -> bytes:
    """A request body with the events of these ids."""
    return b'{"batch":[' + b",".join(map(event_of, ids)) + b"]}"


def authorization(ids: list[str]) -> str:
    """The header of the source that sends these events."""
    return "Basic " + base64.b64encode(f"{WRITE_KEYS[source_of(ids[0])]}:".encode()).decode()


class Oracle:
    """All connections and what they have been promised so far."""

    def __init__(self, gateway: str, seed: str, journal: Journal) -> None:
        self._gateway = gateway
        self._seed = seed
        self._journal = journal
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._finishing = threading.Event()
        self._n_before = 0
        self.counts = {"acked": 0, "sent": 0, "failed": 0, "gave_up": 0}

    def run(self, *, connections: int, pause_s: float, timeout_s: float, give_up: float) -> None:
        """Start connections."""
        self._finishing.clear()
        for _ in range(connections):
            self._n_before += 1
            arguments = (self._n_before, pause_s, timeout_s, give_up)
            thread = threading.Thread(target=self._connection, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def finish(self) -> None:
        """No new requests; returns when those in hand are acknowledged or given up."""
        self._finishing.set()
        deadline = time.monotonic() + FINISH_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()

    def _connection(self, number: int, pause_s: float, timeout_s: float, give_up: float) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        request = 0
        link: http.client.HTTPConnection | None = None
        while not self._finishing.is_set():
            request += 1
            ids = [f"{self._seed}.{number}.{request}.{n}" for n in range(draw.randint(1, MAX_BATCH))]
            may_give_up = draw.random() < give_up
            link = self._see_through(link, ids, timeout_s=timeout_s, may_give_up=may_give_up)
            self._finishing.wait(draw.uniform(0, 2 * pause_s))
        if link is not None:
            link.close()

    def _see_through(
        self, link: http.client.HTTPConnection | None, ids: list[str], *, timeout_s: float, may_give_up: bool
    ) -> http.client.HTTPConnection | None:
        """Send until acknowledged or given up; the connection to go on with."""
        give_up_at = time.monotonic() + FINISH_S
        while True:
            self._journal.write("sent", ids)
            self._count("sent", ids)
            try:
                if link is None:
                    link = http.client.HTTPConnection(self._gateway, timeout=timeout_s)
                self._post(link, ids)
            except (OSError, http.client.HTTPException) as error:
                self._journal.write("failed", ids, why=f"{type(error).__name__}: {error}")
                self._count("failed", ids)
                if link is not None:
                    link.close()
                link = None
            else:
                return link
            if may_give_up or time.monotonic() > give_up_at:
                self._journal.write("gave_up", ids)
                self._count("gave_up", ids)
                return None
            time.sleep(RETRY_PAUSE_S)

    def _post(self, link: http.client.HTTPConnection, ids: list[str]) -> None:
        link.request("POST", "/v1/batch", body_of(ids), {"Authorization": authorization(ids)})
        answer = link.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"answered {answer.status} {said[:200]!r}")
        self._acknowledged(ids, said)

    def _acknowledged(self, ids: list[str], said: bytes) -> None:
        if json.loads(said)["rejected"]:
            self._journal.write("refused", ids, why=said.decode(errors="replace")[:500])
            return
        self._journal.write("acked", ids)
        self._count("acked", ids)

    def _count(self, what: str, ids: list[str]) -> None:
        with self._lock:
            self.counts[what] += len(ids)

    async def burst(self, connections: int) -> None:
        """So many connections, each with one event, all at the same time."""
        self._n_before += 1
        await asyncio.gather(*(self._single(f"{self._seed}.b{self._n_before}.{n}.0") for n in range(connections)))

    async def _single(self, id_: str) -> None:
        host, _, port = self._gateway.rpartition(":")
        body = body_of([id_])
        head = f"POST /v1/batch HTTP/1.1\r\nHost: {self._gateway}\r\nAuthorization: {authorization([id_])}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._journal.write("sent", [id_])
        self._count("sent", [id_])
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode() + body)
            said = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        except (OSError, TimeoutError) as error:
            said = repr(error).encode()
        if said.startswith(b"HTTP/1.1 200"):
            self._acknowledged([id_], said.partition(b"\r\n\r\n")[2])
        else:
            self._journal.write("gave_up", [id_], why=said[:200].decode(errors="replace"))
            self._count("gave_up", [id_])


def _raise_limit() -> None:
    """As many open files as a burst needs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(gateway: str, seed: str, journal: str) -> None:
    """Follow orders until stdin ends."""
    _raise_limit()
    oracle = Oracle(gateway, seed, Journal(Path(journal)))
    for line in sys.stdin:
        order = json.loads(line)
        match order.pop("do"):
            case "run":
                oracle.run(**order)
            case "finish":
                oracle.finish()
            case "burst":
                asyncio.run(oracle.burst(**order))
        print(json.dumps(oracle.counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

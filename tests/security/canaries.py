"""Secrets that are easy to find again, and everything in which they must not be found."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from tests.end_to_end.harness import PATIENCE_S, System
from tests.security.tree import tree

Artefact = tuple[str, str | bytes]


class Canaries:
    """A secret for each name; `values` has them in the clear."""

    def __init__(self, names: Iterable[str], *, signing: Iterable[str] = ()) -> None:
        """Those of `signing` have the form of Standard Webhooks."""
        values = {name: f"canary-{name}-5d41402abc4b2a76" for name in names}
        values |= {name: "whsec_" + base64.b64encode(values[name].encode()).decode() for name in signing}
        self.values: Mapping[str, str] = values
        self._spellings = {name: tuple(_spellings(value.encode())) for name, value in self.values.items()}

    def seen_in(self, text: str | bytes) -> list[str]:
        """The names of those that a text shows, as they are, in Base64 or quoted for a URL."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        return [name for name, forms in self._spellings.items() if any(form in data for form in forms)]

    def seen_anywhere(self, artefacts: Iterable[Artefact]) -> dict[str, list[str]]:
        """Which are seen where."""
        return {name: seen for name, text in artefacts if (seen := self.seen_in(text))}


def endpoints(system: System) -> Iterator[Artefact]:
    """What the gateway shows of the system."""
    for path in ("/metrics", "/ready", "/health"):
        yield path, system.request("GET", path)[1]


def outputs(system: System, commands: Iterable[list[str]]) -> Iterator[Artefact]:
    """What commands print."""
    for arguments in commands:
        done = system.admin(*arguments)
        yield " ".join(arguments), done.stdout + done.stderr


def letters(system: System) -> Iterator[Artefact]:
    """Every dead letter as `dead-letters` lists and shows it."""
    listed = system.admin("dead-letters", "list", "--json")
    yield "dead-letters list --json", listed.stdout
    found = json.loads(listed.stdout)
    assert found, listed
    commands = [["dead-letters", "show", one["destination"], str(one["id"])] for one in found]
    yield from outputs(system, [["dead-letters", "list"], *commands])


def top(system: System) -> Artefact:
    """What `top` draws on a terminal."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "top", "--data-dir", str(system.data_dir.root)]
    environ = {**system.environ, "COLUMNS": "250", "LINES": "100", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environ)
    os.close(slave)
    drawn, deadline = b"", time.monotonic() + PATIENCE_S
    try:
        while drawn.count(b"destination") < 2 and time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                drawn += os.read(master, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b"destination" in drawn, drawn
    return "top", drawn


def processes(system: System) -> Iterator[Artefact]:
    """What other programs see of each process."""
    for pid in tree(system.pid):
        for name in ("cmdline", "environ"):
            yield f"{name} of {pid}", _proc(pid, name)


def files(system: System) -> Iterator[Artefact]:
    """All files, except those that are there to hold a key."""
    keys = {system.data_dir.actor_key, system.data_dir.write_key}
    for path in [system.folder / "serve.log", *system.data_dir.root.rglob("*")]:
        if path.is_file() and path not in keys:
            yield str(path.relative_to(system.folder)), path.read_bytes()


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _spellings(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield quote(secret, safe="").encode()
    for n_before in range(3):  # Base64 of something that has it anywhere inside, without the characters at its ends
        text = base64.b64encode(bytes(n_before) + secret)
        yield text[(0, 2, 3)[n_before] : len(text) - 4]

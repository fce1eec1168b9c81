"""Chromium without a window, told what to open over the DevTools protocol's HTTP half."""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

PATIENCE_S = 30.0
PROGRAMS = ("chromium", "chromium-headless-shell")
_TOLD = b"DevTools listening on ws://"


def chromium() -> str | None:
    """The program, None if there is none."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


class Browser:
    """One Chromium with a profile of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        program = chromium()
        assert program is not None
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [program, *arguments, "about:blank"], stderr=subprocess.PIPE, start_new_session=True
        )
        self._address = self._read_address()
        assert self._process.stderr is not None
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()

    def _read_address(self) -> str:
        assert self._process.stderr is not None
        seen = b""
        for line in self._process.stderr:
            if line.startswith(_TOLD):
                return line[len(_TOLD) :].split(b"/")[0].decode()
            seen += line
        raise AssertionError(f"Chromium did not start: {seen.decode(errors='replace')}")

    def open(self, url: str) -> str:
        """Open a page in a tab of its own; what closes it."""
        identity: str = json.loads(self._ask("PUT", f"/json/new?{quote(url, safe='')}"))["id"]
        return identity

    def close_tab(self, identity: str) -> None:
        """Close the tab, as a person does who leaves."""
        self._ask("GET", f"/json/close/{identity}")

    def _ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            assert response.status == 200, path
            return response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """End the browser with all its processes; the program is often a script that starts another."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._drain.join(PATIENCE_S)


class Shop:
    """A site with the pages of `folder` and the npm packages below `modules`; each has an origin of its own."""

    def __init__(self, folder: Path, modules: Path) -> None:
        class Pages(SimpleHTTPRequestHandler):
            def translate_path(self, path: str) -> str:
                path = path.partition("?")[0]
                is_module = path.startswith("/node_modules/")
                return str(modules.parent / path[1:] if is_module else folder / path[1:])

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Another site than the gateway's for the browser."""
        return f"http://localhost:{self._server.server_port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)

"""ClickHouse's own engine (chDB) behind its HTTP interface: a program, because a process has one engine.

`python clickhouse_server.py FOLDER` prints its port. What clients send is run by the engine: statements, Native
blocks, parameters. Ours is the HTTP around it, and the users: `user:password`, with `/answer/busy|refused|fine` to
change what everybody is told.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import base64
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import lz4.frame
from chdb.session import Session

FOLDER = Path(sys.argv[1])
SESSION = Session(str(FOLDER / "store"))
LOCK = threading.Lock()
STATE = {"answer": "fine"}
LOGIN = "Basic " + base64.b64encode(b"user:password").decode()
BUSY = "Code: 202. DB::Exception: Too many simultaneous queries. Maximum: 100. (TOO_MANY_SIMULTANEOUS_QUERIES)"
REFUSED = "Code: 516. DB::Exception: user: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/answer/"):
            STATE["answer"] = parts.path.rsplit("/", 1)[1]
            return self._answer(200, b"")
        self._run(b"")

    def do_POST(self) -> None:
        try:
            body = self._body()
        except RuntimeError as error:
            return self._fail(f"Code: 271. DB::Exception: {error} (CANNOT_DECOMPRESS)")
        self._run(body)

    def _run(self, body: bytes) -> None:
        if STATE["answer"] == "busy":
            return self._fail(BUSY)
        if STATE["answer"] == "refused" or self.headers.get("Authorization") != LOGIN:
            return self._fail(REFUSED)
        query = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
        try:
            found, shape = self._ask(query, body)
        except Exception as error:
            return self._fail(str(error))
        self._answer(200, found, {"X-ClickHouse-Format": shape, "X-ClickHouse-Summary": "{}"})

    def _ask(self, query: dict[str, str], body: bytes) -> tuple[bytes, str]:
        statement = query.get("query")
        if statement is None and body[:6].upper() == b"INSERT":
            head, _, body = body.partition(b"\n")
            statement = head.decode()
        elif statement is None:
            statement, body = body.decode(), b""
        elif not re.match(r"\s*insert", statement, re.IGNORECASE):
            statement, body = statement + body.decode(), b""
        parameters = {key.removeprefix("param_"): value for key, value in query.items() if key.startswith("param_")}
        with LOCK:
            if body:
                return self._insert(statement, body), "Native"
            shape = re.search(r"\bFORMAT (\w+)\s*;?\s*$", statement, re.IGNORECASE)
            chosen = shape[1] if shape else query.get("default_format", "TSV")
            if shape:
                statement = statement[: shape.start()]
            return SESSION.query(statement, chosen, params=parameters).bytes() or b"", chosen

    def _insert(self, statement: str, body: bytes) -> bytes:
        """The block as a file, which is how data gets into chDB."""
        match = re.match(r"\s*INSERT INTO (\S+)\s*(\(.*\))\s*FORMAT (\w+)\s*", statement, re.IGNORECASE | re.DOTALL)
        if match is None:
            raise ValueError(f"Code: 62. DB::Exception: not an insert: {statement[:100]} (SYNTAX_ERROR)")
        path = FOLDER / "block.native"
        path.write_bytes(body)
        table, columns, shape = match.groups()
        found = SESSION.query(f"INSERT INTO {table} {columns} SELECT * FROM file('{path}', {shape})")
        return found.bytes() or b""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return lz4.frame.decompress(body) if self.headers.get("Content-Encoding") == "lz4" else body

    def _fail(self, text: str) -> None:
        code = re.search(r"Code: (\d+)", text)
        number = code[1] if code else "1002"
        status = {"516": 403, "497": 403, "60": 404, "81": 404}.get(number, 500)
        self._answer(status, text.encode(), {"X-ClickHouse-Exception-Code": number})

    def _answer(self, status: int, body: bytes, headers: dict[str, Any] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()

"""BigQuery's REST interface as far as streaming needs it, with its rules for names, types and rows.

Answers are as cloud.google.com/bigquery/docs/reference/rest and /docs/error-messages have them.
"""

from __future__ import annotations

import json
import re
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PRIVATE_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
TABLE_NAME = re.compile(r"[\w -]{1,1024}")
COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
FORBIDDEN = re.compile(r"_TABLE_|_FILE_|_PARTITION|_ROW_TIMESTAMP|__ROOT__|_COLIDENTIFIER", re.IGNORECASE)
TOO_GREAT = re.compile(r"SELECT 1 FROM `\w[\w-]*\.\w+\.(\w+)` WHERE `(\w+)` NOT BETWEEN (\S+) AND (\S+) LIMIT 1")
MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_INSERT_ID = 128


class Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class BigQueryServer:
    """Holds datasets, tables and rows; `answer` is fine, busy, refused, rejected, quota or unauthorized."""

    def __init__(self) -> None:
        self.answer = "fine"
        self.datasets: dict[str, Any] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.unseen: set[str] = set()
        self.lags = False
        self.former_types: dict[str, str] = {}
        """Of columns by name: what streaming goes by that has not seen their change yet, as while `lags`."""
        self._seen: set[tuple[str, str]] = set()
        self._etag = 0
        self.lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                headers = {name.title(): value for name, value in self.headers.items()}
                try:
                    if length > MAX_REQUEST_BYTES:
                        raise Refusal(413, "requestTooLarge", "Request payload size exceeds the limit: 10485760 bytes.")
                    status, found = 200, owner.serve(self.command, urlsplit(self.path).path, body, headers)
                except Refusal as refusal:
                    status, found = refusal.status, error_body(refusal)
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = _serve

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def key(self) -> str:
        """A service account's key whose tokens come from here."""
        return json.dumps(
            {
                "type": "service_account",
                "client_email": "router@project.iam.gserviceaccount.com",
                "private_key": PRIVATE_KEY,
                "token_uri": f"{self.url}/token",
            }
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        if path == "/token":
            if self.answer == "unauthorized":
                raise Refusal(400, "invalid_grant", "Invalid JWT Signature.")
            return {"access_token": "token", "token_type": "Bearer", "expires_in": 3600}
        if headers.get("Authorization") != "Bearer token":
            raise Refusal(401, "authError", "Request had invalid authentication credentials.")
        if self.answer == "busy":
            raise Refusal(503, "backendError", "Error encountered during execution. Retrying may solve the problem.")
        if self.answer == "quota":
            raise Refusal(403, "rateLimitExceeded", "Exceeded rate limits: too many table update operations")
        if self.answer == "refused":
            raise Refusal(403, "accessDenied", "Access Denied: User lacks bigquery.tables.updateData")
        parts = path.removeprefix("/bigquery/v2/projects/").split("/")[1:]
        with self.lock:
            return self._route(method, parts, json.loads(body or b"{}"), headers)

    def _route(self, method: str, parts: list[str], body: Any, headers: dict[str, str]) -> Any:
        match method, parts:
            case "GET", ["datasets", name]:
                if name not in self.datasets:
                    raise Refusal(404, "notFound", f"Not found: Dataset {name}")
                return self.datasets[name]
            case "POST", ["datasets"]:
                return self.datasets.setdefault(body["datasetReference"]["datasetId"], body)
            case "GET", ["datasets", _, "tables"]:
                return {"tables": [{"tableReference": table["tableReference"]} for table in self.tables.values()]}
            case "POST", ["datasets", _, "tables"]:
                return self._create(body)
            case "GET", ["datasets", _, "tables", name]:
                return self._table(name)
            case "PATCH", ["datasets", _, "tables", name]:
                return self._patch(name, body, headers)
            case "POST", ["datasets", _, "tables", name, "insertAll"]:
                return self._insert(name, body)
            case "POST", ["queries"]:
                return self._query(body["query"])
        raise Refusal(404, "notFound", f"Not found: {method} {parts}")

    def _table(self, name: str) -> dict[str, Any]:
        if name not in self.tables:
            raise Refusal(404, "notFound", f"Not found: Table {name}")
        return self.tables[name]

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["tableReference"]["tableId"]
        if not TABLE_NAME.fullmatch(name):
            raise Refusal(400, "invalid", f"Invalid table ID {name!r}")
        if name in self.tables:
            raise Refusal(409, "duplicate", f"Already Exists: Table {name}")
        self._check(body["schema"]["fields"])
        self.tables[name] = body | {"etag": self._next_etag()}
        self.rows[name] = []
        return self.tables[name]

    def _patch(self, name: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        table = self._table(name)
        if headers.get("If-Match") not in (None, table["etag"]):
            raise Refusal(412, "conditionNotMet", "Precondition check failed.")
        fields = body["schema"]["fields"]
        self._check(fields)
        kept = {field["name"]: field["type"] for field in fields}
        if any(kept.get(field["name"]) != field["type"] for field in table["schema"]["fields"]):
            raise Refusal(400, "invalid", "Provided Schema does not match Table")
        table |= {"schema": {"fields": fields}, "etag": self._next_etag()}
        return table

    def _check(self, fields: list[dict[str, Any]]) -> None:
        names = [field["name"] for field in fields]
        wrong = [name for name in names if not COLUMN_NAME.fullmatch(name) or FORBIDDEN.match(name)]
        if wrong:
            raise Refusal(400, "invalid", f"Invalid field name {wrong[0]!r}.")
        if len({name.lower() for name in names}) < len(names):
            raise Refusal(400, "invalid", "Field already exists in schema")
        if len(names) > 10_000:
            raise Refusal(400, "invalid", "Too many fields")

    def _insert(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        types = {field["name"].lower(): field["type"] for field in self._table(name)["schema"]["fields"]}
        types |= self.former_types
        if self.answer == "rejected":
            types = dict.fromkeys(types, "NONE")
        wrong = []
        for index, row in enumerate(body["rows"]):
            errors = [found for column, value in row["json"].items() if (found := self._wrong(types, column, value))]
            if len(row["insertId"]) > MAX_INSERT_ID:
                errors = [{"reason": "invalid", "location": "", "message": "Field insertId is too long"}]
            if errors:
                wrong.append({"index": index, "errors": errors})
            elif (name, row["insertId"]) not in self._seen:
                self._seen.add((name, row["insertId"]))
                self.rows[name].append(row["json"])
        return {"kind": "bigquery#tableDataInsertAllResponse"} | ({"insertErrors": wrong} if wrong else {})

    def _wrong(self, types: dict[str, str], column: str, value: Any) -> dict[str, str] | None:
        kind = types.get(column.lower())
        if kind is None or column in self.unseen:
            return {"reason": "invalid", "location": column, "message": f"no such field: {column}."}
        if not fits(value, kind):
            return {"reason": "invalid", "location": column, "message": f"Cannot convert value to {kind}: {value!r}"}
        return None

    def _query(self, text: str) -> dict[str, Any]:
        match = re.match(r"ALTER TABLE `\w[\w-]*\.\w+\.(\w+)` ALTER COLUMN `(\w+)` SET DATA TYPE FLOAT64", text)
        if match:
            for field in self._table(match[1])["schema"]["fields"]:
                if field["name"] == match[2]:
                    self.former_types |= {match[2]: field["type"]} if self.lags else {}
                    field["type"] = "FLOAT"
            return {"jobComplete": True, "rows": [], "totalRows": "0", "schema": {"fields": []}}
        match = TOO_GREAT.match(text)
        if match is None:
            raise Refusal(400, "invalidQuery", f"Syntax error: {text}")
        values = [row[match[2]] for row in self.rows[match[1]] if row.get(match[2]) is not None]
        found = [value for value in values if not int(match[3]) <= int(value) <= int(match[4])]
        rows = [{"f": [{"v": "1"}]}] if found else []
        return {
            "jobComplete": True,
            "rows": rows,
            "totalRows": str(len(rows)),
            "schema": {"fields": [{"name": "f0_", "type": "INTEGER"}]},
        }

    def _next_etag(self) -> str:
        self._etag += 1
        return f"etag-{self._etag}"


def fits(value: Any, kind: str) -> bool:
    match kind:
        case "STRING" | "JSON":
            return isinstance(value, str)
        case "INTEGER":
            if isinstance(value, str):
                return bool(re.fullmatch(r"-?\d{1,19}", value)) and -(2**63) <= int(value) < 2**63
            return type(value) is int and abs(value) <= 2**53  # a JSON reader may round what is greater
        case "FLOAT":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "BOOLEAN":
            return isinstance(value, bool)
        case "TIMESTAMP":
            try:
                return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
            except ValueError:
                return False
    return False


def error_body(refusal: Refusal) -> dict[str, Any]:
    if refusal.reason == "invalid_grant":
        return {"error": refusal.reason, "error_description": refusal.message}
    details = [{"message": refusal.message, "domain": "global", "reason": refusal.reason}]
    return {"error": {"code": refusal.status, "message": refusal.message, "errors": details}}

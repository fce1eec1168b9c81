"""S3 on loopback: moto's server in a process of its own, and a look into its buckets."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import obstore
from obstore.store import S3Store

KEYS: dict[str, Any] = {
    "access_key_id": "key-of-tests",
    "secret_access_key": "secret-of-tests",
    "region": "eu-central-1",
}
_READY = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class S3Server:
    """Listens until it is closed; takes every login, until `refuse` says otherwise."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout
        said = []
        for line in self._process.stdout:
            said.append(line)
            if match := _READY.search(line):
                self.url = match[1]
                break
        else:
            raise AssertionError(f"moto has ended: {''.join(said)}")
        # It has a line for every request, and stands still when nobody reads them.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def make_bucket(self, name: str) -> None:
        self._ask(f"/{name}", method="PUT")

    def refuse(self) -> None:
        """Take no login any more."""
        self._ask("/moto-api/reset-auth", method="POST", data=b"0")

    def reset(self) -> None:
        """Forget all buckets, and take every login."""
        self._ask("/moto-api/reset-auth", method="POST", data=b"inf")
        self._ask("/moto-api/reset", method="POST")

    def objects(self, bucket: str) -> dict[str, bytes]:
        """What is in a bucket, by name in order."""
        store = self.store(bucket)
        names = sorted(str(found["path"]) for found in obstore.list(store).collect())
        return {name: bytes(obstore.get(store, name).bytes()) for name in names}

    def attributes(self, bucket: str, name: str) -> dict[str, str]:
        found: dict[Any, str] = obstore.get(self.store(bucket), name).attributes
        return {str(key): value for key, value in found.items()}

    def store(self, bucket: str) -> S3Store:
        return S3Store(bucket, endpoint=self.url, client_options={"allow_http": True}, **KEYS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, path: str, *, method: str, data: bytes = b"") -> None:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "text/plain"}, method=method)
        urllib.request.urlopen(request, timeout=30).close()


def running_s3() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()

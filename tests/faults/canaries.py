"""Secrets that stand in every scenario's configuration, and the search for them in everything that was written."""

from __future__ import annotations

import base64
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

WRITE_KEYS = {"web": "canary-web-41b6c0ffee51d0a2", "app": "canary-app-7d8e94b0c3aa1f66"}
"""Of each source; clients show them in a header, or in the body of a decision."""
CRM_TOKEN = "canary-crm-0d9c2b7e5f31a844"
ADS_TOKEN = "canary-ads-93e1f7705bcd6a12"
"""What the receivers are shown, and what crm's says back whenever it refuses a request."""
CANARIES = (*WRITE_KEYS.values(), CRM_TOKEN, ADS_TOKEN)
CONFIGURATION = ".toml"
"""The files in which they have to stand."""


def _forms() -> Iterator[bytes]:
    for canary in CANARIES:
        yield canary.encode()
        for text in (canary, f"{canary}:"):  # as a header of basic authentication has it
            yield base64.b64encode(text.encode()).rstrip(b"=")[:-1]


FORMS = tuple(dict.fromkeys(_forms()))


def leaks_in(where: str, data: bytes | mmap.mmap) -> Iterator[str]:
    """A problem for each secret in some bytes."""
    for form in FORMS:
        if (at := data.find(form)) >= 0:
            yield f"I10: {form.decode()} stands in {where}, at byte {at}"


def leaks_in_files(folder: Path) -> Iterator[str]:
    """A problem for each secret in any file below a folder that is not a configuration."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.suffix == CONFIGURATION or not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from leaks_in(str(path.relative_to(folder)), data)


def leaks_in_texts(texts: Iterable[str]) -> Iterator[str]:
    """A problem for each secret in what the system has said: statuses, metrics, command lines."""
    for text in texts:
        yield from leaks_in(f"{text[:60]!r}", text.encode())

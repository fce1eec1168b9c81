"""Which texts of a configuration are secret, wherever in it they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from sluicegate.config.problems import KeyPath, is_sensitive
from sluicegate.config.secret import Secret

MIN_PATH_PART = 16
"""A part of a web address's path that is as long as this is taken for a token: some vendors put theirs there."""


MIN_VALUE = 8
"""A value in the query that is shorter, and whose name does not say so, is none."""


def secrets_in(value: Any) -> Iterator[str]:
    """The texts of all `Secret`s in settings."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from secrets_in(getattr(value, name))
    else:
        for item in _items(value):
            yield from secrets_in(item)


def sensitive_texts(value: Any, path: KeyPath) -> Iterator[str]:
    """The texts below a key whose name says that they are secret (`token`, `password` ...)."""
    if isinstance(value, str):
        if is_sensitive(path):
            yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from sensitive_texts(item, (*path, str(name)))
    else:
        for item in _items(value):
            yield from sensitive_texts(item, path)


def web_secrets(value: Any) -> Iterator[str]:
    """What may be secret in the web addresses of settings: a password, values of the query, long path parts."""
    if not isinstance(value, str):
        for item in _items(value):
            yield from web_secrets(item)
    elif "://" in value:
        try:
            parts = urlsplit(value)
        except ValueError:
            return
        yield from filter(None, (parts.password, unquote(parts.password or "")))
        yield from (text for name, text in parse_qsl(parts.query) if is_sensitive((name,)) or len(text) >= MIN_VALUE)
        yield from (part for part in parts.path.split("/") if len(part) >= MIN_PATH_PART)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value

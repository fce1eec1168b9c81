"""Collecting every mistake of a configuration, without showing a secret."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sluicegate.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

MASK = "***"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SENSITIVE = re.compile(r"secret|token|passw|key|header|credential|auth|dsn|signature", re.IGNORECASE)
_SECRET_WORDS = ("secret", "token", "password", "key", "keys", "header", "credential", "auth", "dsn", "signature")
_USER_INFO = re.compile(r"//[^/@\s]*@")
_QUERY = re.compile(r"(//[^?\s]*)\?\S+")
_LONG_PART = re.compile(r"(?<=[^/])/[^/?#\s]{16,}")
_WITHOUT_SECRETS = ("supervisor", "actors", "logs", "network")
_MIN_HIDDEN = 4
"""Shorter texts are in too many words to be cut out of a message."""


class Wrong(ValueError):
    """A value that cannot stand where it stands: why, and what to write instead."""

    def __init__(self, reason: str, suggestion: str = "") -> None:
        self.reason = reason
        self.suggestion = suggestion
        super().__init__(reason)


class Problems:
    """The mistakes found so far; `document` is the file as written, before variables are put in."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        self._document = document or {}
        self._found: list[Problem] = []
        self._hidden: set[str] = set()
        self.sensitive_variables: set[str] = set()
        """What those variables hold whose names say that it is secret."""
        self._unreadable: set[KeyPath] = set()

    def add(self, path: KeyPath, reason: str, suggestion: str = "") -> None:
        """Note a mistake at this key; its value is shown as written, masked where it may be a secret.

        Nothing is noted where a value that cannot be read has been reported, because it would be a mere consequence.
        """
        if any(unreadable[: len(path)] == path for unreadable in self._unreadable):
            return
        value = masked(self._written(path), sensitive=is_sensitive(path))
        self._found.append(Problem(spell(path), value, reason, suggestion))

    def add_wrong(self, path: KeyPath, wrong: Wrong) -> None:
        """Note a mistake that a parser found."""
        self.add(path, wrong.reason, wrong.suggestion)

    def add_unreadable(self, path: KeyPath, reason: str, suggestion: str = "") -> None:
        """Note a value that stands for nothing, such as a variable that is not set."""
        self.add(path, reason, suggestion)
        self._unreadable.add(path)

    def add_unknown(self, path: KeyPath, known: Iterable[str]) -> None:
        """Note a key that means nothing; its text is masked where it may be a misspelt secret."""
        names = list(known)
        value = self._written(path)
        sensitive = is_sensitive(path) or not self._is_harmless(path, value, names)
        suggestion = did_you_mean(str(path[-1]), names) or "remove it"
        self._found.append(Problem(spell(path), masked(value, sensitive=sensitive), "unknown key", suggestion))

    def _is_harmless(self, path: KeyPath, value: Any, known: list[str]) -> bool:
        """Whether what stands at an unknown key cannot be a secret.

        Types have secrets of any name, so there the key has to be a misspelling of one that holds none.
        """
        if isinstance(value, int | float) or path[0] in _WITHOUT_SECRETS:
            return True
        if isinstance(value, Mapping):
            return False
        name = str(path[-1])
        if path[0] == "destinations":
            closest = closest_to(name, known)
            return closest is not None and not _SENSITIVE.search(closest)
        return not any(closest_to(word, _SECRET_WORDS) for word in re.split(r"[\W_]+", name))

    def hide(self, text: str, *, variable: str = "") -> None:
        """Keep this text, which may be that of a variable, out of messages that come from elsewhere."""
        if len(text) >= _MIN_HIDDEN:
            self._hidden.add(text)
        if _SENSITIVE.search(variable):
            self.sensitive_variables.add(text)

    def redact(self, message: str) -> str:
        """The message without any hidden text."""
        for text in sorted(self._hidden, key=len, reverse=True):
            message = message.replace(text, MASK)
        return message

    def raise_if_any(self, source: str) -> None:
        """Raise `ConfigError` with everything found, if anything was."""
        if self._found:
            raise ConfigError(self._found, source=source)

    def _written(self, path: KeyPath) -> Any:
        value: Any = self._document
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def spell(path: KeyPath) -> str:
    """A key path as TOML spells it: `destinations.crm.events[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{bare}" if text else bare
    return text


def is_sensitive(path: KeyPath) -> bool:
    """Whether what stands here may be a secret, judged by its name; a destination's id is not looked at."""
    names = path[2:] if path[:1] == ("destinations",) else path
    return any(isinstance(name, str) and _SENSITIVE.search(name) for name in names)


def masked(value: Any, *, sensitive: bool, levels: int = 4) -> Any:
    """The value for showing, `levels` deep: what may be secret becomes `***`, unless a variable stands there."""
    if isinstance(value, Mapping | list | tuple) and not levels:
        return "..."
    if isinstance(value, Mapping):
        return {
            name: masked(item, sensitive=sensitive or bool(_SENSITIVE.search(str(name))), levels=levels - 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, sensitive=sensitive, levels=levels - 1) for item in value]
    if isinstance(value, str):
        is_variable = re.fullmatch(r"\$\{[A-Za-z0-9_]+\}", value)
        return MASK if sensitive and not is_variable else _masked_address(value)
    return MASK if sensitive and value is not None and not isinstance(value, bool) else value


def _masked_address(text: str) -> str:
    """A web address without what may be secret in it: user and password, the query, long parts of the path."""
    if "//" not in text:
        return text
    text = _QUERY.sub(rf"\1?{MASK}", _USER_INFO.sub(f"//{MASK}@", text))
    return _LONG_PART.sub(f"/{MASK}", text)


def closest_to(word: str, known: Iterable[str]) -> str | None:
    """Which of these words is meant by a misspelt one, if any is."""
    folded = {name.lower(): name for name in reversed(list(known))}
    close = difflib.get_close_matches(word.lower()[:64], folded, n=1)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word, or what there is to choose from."""
    names = list(known)
    if close := closest_to(word, names):
        return f"did you mean {close}?"
    return f"known: {', '.join(names)}" if names else ""

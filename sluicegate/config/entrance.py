"""Reading `[gateway]`, `[log]`, `[supervisor]`, `[actors]` and `[logs]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluicegate.config.hashed import check_hash, hashed, is_hashed
from sluicegate.config.keys import ACTORS, GATEWAY, LOG, LOGS, SUPERVISOR
from sluicegate.config.model import GatewayConfig, LogConfig, SupervisorConfig
from sluicegate.config.names import ID_RULE, is_id
from sluicegate.config.problems import KeyPath, Problems, Wrong
from sluicegate.config.scalars import read_scalars, read_table, texts
from sluicegate.config.secret import Secret
from sluicegate.logs import LEVELS, LogFormat, LogStyle

MAX_PORT = 65_535
MIN_WRITE_KEY = 8
"""Characters; fewer can be guessed over the network in days."""
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_WRITE_KEY = re.compile(r"[!-9;-~]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


def read_gateway(document: Mapping[str, Any], listen: str | None, problems: Problems, *, folder: Path) -> GatewayConfig:
    """`[gateway]` of a file in `folder`; `listen` from the command line wins over the file."""
    raw = read_table(document, "gateway", problems)
    unknown_keys(raw, GATEWAY.names, ("gateway",), problems)
    values = read_scalars(raw, GATEWAY, ("gateway",), problems)
    values["write_keys"] = _write_keys(raw.get("write_keys"), problems)
    values["regulation_keys"] = _regulation_keys(raw.get("regulation_keys"), values["write_keys"], problems)
    for name, path, text in (
        ("listen", ("gateway", "listen"), raw.get("listen")),
        ("listen", ("--listen",), listen),
        ("cors_origins", ("gateway", "cors_origins"), raw.get("cors_origins")),
        ("analytics_js", ("gateway", "analytics_js"), raw.get("analytics_js")),
    ):
        if text is None:
            continue
        try:
            if name == "listen":
                values["host"], values["port"] = parse_listen(text)
            elif name == "analytics_js":
                values[name] = _script(text, folder)
            else:
                values[name] = _origins(text)
        except Wrong as wrong:
            problems.add_wrong(path, wrong)
    gateway = GatewayConfig(**values)
    _check_order(gateway, problems)
    return gateway


def read_log(document: Mapping[str, Any], problems: Problems) -> LogConfig:
    """`[log]`."""
    raw = read_table(document, "log", problems)
    unknown_keys(raw, LOG.names, ("log",), problems)
    if raw.get("dedup_window") is False:
        raw = {**raw, "dedup_window": 0}
    log = LogConfig(**read_scalars(raw, LOG, ("log",), problems))
    if log.max_age_s < log.retention_s:
        problems.add(("log", "max_age"), "is less than retention", "raise it, or lower retention")
    return log


def read_supervisor(document: Mapping[str, Any], problems: Problems) -> SupervisorConfig:
    """`[supervisor]`."""
    raw = read_table(document, "supervisor", problems)
    unknown_keys(raw, SUPERVISOR.names, ("supervisor",), problems)
    supervisor = SupervisorConfig(**read_scalars(raw, SUPERVISOR, ("supervisor",), problems))
    if supervisor.retry_cap_s < supervisor.retry_delay_s:
        problems.add(
            ("supervisor", "retry_cap"),
            f"is less than retry_delay ({supervisor.retry_delay_s:g}s)",
            "raise it, or lower retry_delay",
        )
    if 0 < supervisor.memory_shed_percent <= supervisor.memory_keep_percent:
        problems.add(
            ("supervisor", "memory_keep_percent"),
            f"is not less than memory_shed_percent ({supervisor.memory_shed_percent})",
            "lower it, or raise memory_shed_percent",
        )
    return supervisor


def read_actor_port(document: Mapping[str, Any], port: int | None, problems: Problems) -> int:
    """`[actors] port`; the command line's port wins."""
    raw = read_table(document, "actors", problems)
    unknown_keys(raw, ACTORS.names, ("actors",), problems)
    in_file: int = read_scalars(raw, ACTORS, ("actors",), problems).get("actor_port", 0)
    if port is None:
        return in_file
    if not 0 <= port <= MAX_PORT:
        problems.add(("--port",), f"{port} is not a port", f"write a number from 0 to {MAX_PORT}")
    return port


def read_logs(document: Mapping[str, Any], problems: Problems) -> LogStyle:
    """`[logs]`."""
    raw = read_table(document, "logs", problems)
    unknown_keys(raw, LOGS.names, ("logs",), problems)
    values = {"level": "info", "format": LogFormat.AUTO.value}
    for name, known in (("level", LEVELS), ("format", [*LogFormat])):
        if name not in raw:
            continue
        if raw[name] in known:
            values[name] = raw[name]
        else:
            problems.add(("logs", name), "is none of those known", f"write one of: {', '.join(known)}")
    return LogStyle(values["level"], LogFormat(values["format"]))


def unknown_keys(raw: Mapping[str, Any], known: tuple[str, ...], path: KeyPath, problems: Problems) -> None:
    """Note every key that is not known."""
    for name in raw:
        if name not in known:
            problems.add_unknown((*path, name), known)


def parse_listen(value: object) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8080" or "[::1]:8080"; raises `Wrong`."""
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong("not HOST:PORT", 'write one like "127.0.0.1:8080" or "[::1]:8080"')
    host, port = match[1].strip("[]"), int(match[2])
    if not host:
        raise Wrong("has no host", f'write "127.0.0.1:{port}", or "0.0.0.0:{port}" for all interfaces')
    if port > MAX_PORT:
        raise Wrong(f"{port} is not a port", f"write a number from 0 to {MAX_PORT}")
    return host, port


def _write_keys(raw: object, problems: Problems) -> dict[str, Secret]:
    path = ("gateway", "write_keys")
    if not isinstance(raw, Mapping) or not raw:
        reason = "is missing, so that nobody could send events" if not raw else "must be a table"
        problems.add(path, reason, 'write write_keys = { web = "${WEB_WRITE_KEY}" }')
        return {}
    return _keys(raw, path, {}, problems)


def _regulation_keys(raw: object, write_keys: Mapping[str, Secret], problems: Problems) -> dict[str, Secret]:
    path = ("gateway", "regulation_keys")
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        problems.add(path, "must be a table", 'write regulation_keys = { privacy = "${REGULATION_KEY}" }')
        return {}
    owner = {_as_hash(key.reveal()): f"the source {source}" for source, key in write_keys.items()}
    return _keys(raw, path, owner, problems)


def _keys(raw: Mapping[Any, Any], path: KeyPath, owner: dict[str, str], problems: Problems) -> dict[str, Secret]:
    """Keys by name; `owner` has those that are taken, as hashes, and whose they are."""
    keys: dict[str, Secret] = {}
    for source, key in raw.items():
        try:
            _check_write_key(source, key)
            if owner.setdefault(_as_hash(key), source) != source:
                raise Wrong(f"is the key of {owner[_as_hash(key)]} too", "give each a key of its own")
            keys[source] = Secret(key)
        except Wrong as wrong:
            problems.add_wrong((*path, source), wrong)
    return keys


def _check_write_key(source: str, key: object) -> None:
    if not is_id(source):
        raise Wrong("not a source name", ID_RULE)
    if not isinstance(key, str):
        raise Wrong("must be a text", 'write it in quotes, or "${NAME}"')
    if is_hashed(key):
        check_hash(key)
    else:
        check_plain_key(key)


def check_plain_key(key: str) -> None:
    """Raise `Wrong` unless a sender can have this key."""
    if not key:
        raise Wrong("is empty", "check the variable")
    if len(key) < MIN_WRITE_KEY:
        raise Wrong(f"has fewer than {MIN_WRITE_KEY} characters", "make one with: openssl rand -hex 16")
    if not _WRITE_KEY.fullmatch(key):
        raise Wrong("has characters that HTTP user names cannot have", "use letters and digits")


def _as_hash(key: str) -> str:
    """A key for comparing, so that one that stands here plain and hashed is the same."""
    return key if is_hashed(key) else hashed(key)


def _origins(value: object) -> tuple[str, ...]:
    origins = texts(value)
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise Wrong(f"{origin!r} is not an origin", 'write one like "https://www.example.com", without a path')
    return origins


def _script(value: object, folder: Path) -> Path | None:
    if not isinstance(value, str):
        raise Wrong("must be a text", 'write one like "analytics.min.js"')
    if "\0" in value:
        raise Wrong("has a zero byte in it", 'write one like "analytics.min.js"')
    return folder / value if value else None


def _check_order(gateway: GatewayConfig, problems: Problems) -> None:
    """Every limit must leave room for the smaller thing inside it."""
    if gateway.max_batch_bytes < gateway.max_event_bytes:
        problems.add(("gateway", "max_batch_size"), "is less than max_event_size", "raise it, or lower max_event_size")
    if gateway.max_body_bytes < gateway.max_batch_bytes:
        problems.add(("gateway", "max_body_size"), "is less than max_batch_size", "raise it, or lower max_batch_size")

"""Turning a type's own keys into its settings class, with every mistake named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import DestinationConfig
from sluicegate.config.plugins import check_declaration
from sluicegate.config.problems import KeyPath, Problems, Wrong, is_sensitive
from sluicegate.config.secret import Secret
from sluicegate.config.wording import reason_and_suggestion, type_text

_PLACE = re.compile(r"^(?P<reason>.*?)(?: - at `\$?(?P<place>[^`]*)`)?$", re.DOTALL)
_PLACE_PART = re.compile(r"\.([A-Za-z_][\w-]*)|\[([0-9]+)\]")


def settings_for(type_name: str, raw: Mapping[str, Any], settings_type: type[Settings]) -> Settings:
    """A type's settings from `DestinationConfig.settings`; raises `ConfigError` with every mistake.

    The problems show no values, because variables have been put into them.
    """
    problems = Problems()
    source = f"settings of type {type_name}"
    try:
        check_declaration(settings_type)
    except Wrong as wrong:
        problems.add_wrong((), wrong)
        problems.raise_if_any(source)
    settings = convert_settings(raw, settings_type, (), problems)
    problems.raise_if_any(source)
    assert settings is not None
    return settings


def convert_settings(
    raw: Mapping[str, Any],
    settings_type: type[Settings],
    path: KeyPath,
    problems: Problems,
    *,
    also_known: tuple[str, ...] = (),
) -> Settings | None:
    """The settings, or None after noting every mistake below `path`; `also_known` are further keys to suggest."""
    try:
        fields = msgspec.structs.fields(settings_type)
    except Exception as error:
        problems.add(path, f"{settings_type.__name__} cannot be read: {error}", "tell the type's author")
        return None
    _hide_secrets(raw, fields, problems)
    names = [field.encode_name for field in fields]
    n_wrong = sum(not _field_is_right(raw, field, path, problems) for field in fields)
    if settings_type.__struct_config__.forbid_unknown_fields:
        for name in raw:
            if name not in names:
                problems.add_unknown((*path, name), [*also_known, *names])
                n_wrong += 1
    return None if n_wrong else _construct(raw, settings_type, path, problems)


def effective_limits(destination: DestinationConfig, declared: Limits) -> Limits:
    """The declared limits, lowered where the configuration says so; only the wait may also be longer."""
    return Limits(
        max_events=min(declared.max_events, destination.batch_size or declared.max_events),
        max_bytes=min(declared.max_bytes, destination.batch_bytes or declared.max_bytes),
        in_flight=min(declared.in_flight, destination.in_flight or declared.in_flight),
        age_s=declared.age_s if destination.batch_age_s is None else destination.batch_age_s,
    )


def _field_is_right(
    raw: Mapping[str, Any], field: msgspec.structs.FieldInfo, path: KeyPath, problems: Problems
) -> bool:
    here = (*path, field.encode_name)
    if field.encode_name not in raw:
        if field.required:
            problems.add(here, "is missing, and the type needs it", _how_to_write(field))
        return not field.required
    try:
        msgspec.convert(raw[field.encode_name], field.type, strict=True, dec_hook=_convert_special)
    except Exception as error:
        reason, place = _read_error(error)
        reason, suggestion = reason_and_suggestion(reason, field.type)
        problems.add((*here, *place), problems.redact(reason), suggestion)
        return False
    return True


def _how_to_write(field: msgspec.structs.FieldInfo) -> str:
    """A line for a setting that has to be there."""
    value = {"text": '"..."', "secret": '"${NAME}"'}.get(type_text(field.type), "...")
    return f"write {field.encode_name} = {value}"


def _construct(
    raw: Mapping[str, Any], settings_type: type[Settings], path: KeyPath, problems: Problems
) -> Settings | None:
    """Convert as a whole, which runs the checks of `__post_init__`."""
    try:
        return msgspec.convert(dict(raw), settings_type, strict=True, dec_hook=_convert_special)
    except Exception as error:
        reason, place = _read_error(error)
        key, colon, rest = reason.partition(": ")
        if colon and key in settings_type.__struct_encode_fields__:
            reason, place = rest, (key,)
        reason, _, suggestion = reason.partition("; ")
        problems.add((*path, *place), problems.redact(reason), problems.redact(suggestion))
        return None


def _convert_special(kind: type, value: Any) -> Any:
    """What msgspec does not know: secrets and paths, both written as texts."""
    if kind is not Secret and not issubclass(kind, Path):
        raise TypeError(f"a setting of type {kind.__name__} cannot be read from a file; tell the type's author")
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    if not value:
        raise ValueError("must not be empty; write a text, or leave it out")
    return kind(value)


def _read_error(error: Exception) -> tuple[str, KeyPath]:
    """The text of a conversion error and the place below the field that it names."""
    if not isinstance(error, msgspec.ValidationError):
        return f"{type(error).__name__}: {error}", ()
    match = _PLACE.match(str(error))
    if match is None:
        return str(error), ()
    parts = _PLACE_PART.findall(match["place"] or "")
    return match["reason"], tuple(name or int(index) for name, index in parts)


def _hide_secrets(raw: Mapping[str, Any], fields: tuple[msgspec.structs.FieldInfo, ...], problems: Problems) -> None:
    secret_names = {field.encode_name for field in fields if _mentions_secret(field.type)}
    for name, value in raw.items():
        if name in secret_names or is_sensitive((name,)):
            _hide(value, problems)


def _mentions_secret(kind: Any) -> bool:
    return kind is Secret or any(map(_mentions_secret, get_args(kind)))


def _hide(value: Any, problems: Problems) -> None:
    if isinstance(value, str):
        problems.hide(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _hide(item, problems)
    elif isinstance(value, list):
        for item in value:
            _hide(item, problems)

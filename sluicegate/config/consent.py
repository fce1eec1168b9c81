"""Reading `[consent]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sluicegate.config.entrance import unknown_keys
from sluicegate.config.keys import COMPAT, CONSENT
from sluicegate.config.model import ConsentConfig, ConsentModel, HonorGpc, OnDenied, OnUndecided, PurposesConfig
from sluicegate.config.problems import Problems, Wrong, did_you_mean
from sluicegate.config.purposes import CUSTOM
from sluicegate.config.scalars import read_scalars, read_table, texts

Choice = TypeVar("Choice", bound=StrEnum)

MAX_POLICY = 128
"""Characters of a policy's version."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_JURISDICTION = re.compile(r"[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?|\*")
_NECESSARY = "necessary"


def read_consent(document: Mapping[str, Any], purposes: PurposesConfig, problems: Problems) -> ConsentConfig:
    """`[consent]`; every purpose that it names must be known."""
    raw = read_table(document, "consent", problems)
    unknown_keys(raw, CONSENT.names, ("consent",), problems)
    values = read_scalars(raw, CONSENT, ("consent",), problems)
    for name, parse in (
        ("model", lambda value: _choice(ConsentModel, value)),
        ("honor_gpc", lambda value: _choice(HonorGpc, value)),
        ("on_undecided", read_on_undecided),
        ("jurisdiction_header", _header),
        ("gpc_purposes", lambda value: _purposes(value, purposes)),
        ("require_policy", _policy),
    ):
        if name in raw:
            try:
                values[name] = parse(raw[name])
            except Wrong as wrong:
                problems.add_wrong(("consent", name), wrong)
    if "jurisdictions" in raw:
        values["jurisdictions"] = _jurisdictions(raw["jurisdictions"], problems)
    values["allow_unasked"] = _allows_unasked(document, problems)
    return ConsentConfig(**values)


def _allows_unasked(document: Mapping[str, Any], problems: Problems) -> bool:
    """`[compat]`: what becomes of events that say nothing at all about consent."""
    raw = read_table(document, "compat", problems)
    unknown_keys(raw, COMPAT.names, ("compat",), problems)
    value = raw.get("segment_missing_consent", False)
    if value not in ("allow", False):
        path = ("compat", "segment_missing_consent")
        problems.add(path, "is not one of the choices", 'write "allow", or leave it out')
    return bool(value == "allow")


def read_on_undecided(value: object) -> OnUndecided:
    """What becomes of undecided events; raises `Wrong`."""
    return _choice(OnUndecided, value)


def read_on_denied(value: object) -> OnDenied:
    """What becomes of refused events; raises `Wrong`."""
    return _choice(OnDenied, value)


def _choice(kind: type[Choice], value: object) -> Choice:
    names = [choice.value for choice in kind]
    if not isinstance(value, str):
        raise Wrong("must be a text", f"known: {', '.join(names)}")
    if value not in names:
        raise Wrong("is not one of the choices", did_you_mean(value, names))
    return kind(value)


def _header(value: object) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise Wrong("is not the name of a header", 'write one like "CF-IPCountry"')
    return value.lower()


def _purposes(value: object, purposes: PurposesConfig) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(map(purposes.resolve, texts(value))))
    for name in names:
        if name not in purposes.known:
            raise Wrong(f"unknown purpose {name!r}", did_you_mean(name, (*purposes.known, *purposes.aliases)))
        if name == _NECESSARY:
            raise Wrong("necessary needs no consent, and cannot be denied", f"leave it out, or see {CUSTOM} purposes")
    return names


def _policy(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_POLICY or not value.isprintable():
        raise Wrong(f"must be a text of 1 to {MAX_POLICY} printable characters", 'write one like "2026-11"')
    return value


def _jurisdictions(value: object, problems: Problems) -> dict[str, ConsentModel]:
    path = ("consent", "jurisdictions")
    if not isinstance(value, Mapping):
        problems.add(path, "must be a table", 'write jurisdictions = { US = "opt-out" }')
        return {}
    found: dict[str, ConsentModel] = {}
    for name, model in value.items():
        try:
            if not _JURISDICTION.fullmatch(name):
                raise Wrong("is not a jurisdiction", 'write a country or a part of one: US, US-CA, or "*"')
            if name.upper() in found:
                raise Wrong("is there twice", "remove one of them")
            found[name.upper()] = _choice(ConsentModel, model)
        except Wrong as wrong:
            problems.add_wrong((*path, name), wrong)
    return found

"""Purposes, their aliases, and what a destination requires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sluicegate.config.model import BUILT_IN_PURPOSES, PurposesConfig, Requirement
from sluicegate.config.problems import KeyPath, Problems, Wrong, did_you_mean
from sluicegate.config.scalars import read_table, texts

CUSTOM = "custom"
MAX_NAME = 128
"""Characters of a purpose or an alias; consent tools use short ids such as C0002."""


def read_purposes(document: Mapping[str, Any], problems: Problems) -> PurposesConfig:
    """`[purposes]`: `custom` lists purposes, every other key is an alias of one."""
    raw = read_table(document, "purposes", problems)
    custom: tuple[str, ...] = ()
    if CUSTOM in raw:
        custom = _custom(raw[CUSTOM], problems)
    known = BUILT_IN_PURPOSES + custom
    aliases: dict[str, str] = {}
    for name, target in raw.items():
        if name == CUSTOM:
            continue
        try:
            aliases[name] = _alias(name, target, known)
        except Wrong as wrong:
            problems.add_wrong(("purposes", name), wrong)
    return PurposesConfig(custom, aliases)


def read_requirement(raw: object, purposes: PurposesConfig) -> Requirement:
    """What stands at `requires`: a list, or a table with `all`, `any` or both; raises `Wrong`."""
    if not isinstance(raw, Mapping):
        return Requirement(all=_required(raw, purposes))
    for name in raw:
        if name not in ("all", "any"):
            raise Wrong(f"has an unknown key {name}", 'write { all = ["..."] } or { any = ["..."] }')
    if not raw:
        raise Wrong("must not be empty", 'write ["necessary"] when no consent is needed')
    every = _required(raw["all"], purposes) if "all" in raw else ()
    one_of = _required(raw["any"], purposes) if "any" in raw else ()
    if "necessary" in one_of:
        raise Wrong(
            "necessary needs no consent, so that any would always be met",
            'write ["necessary"] when no consent is needed, else take it out',
        )
    return Requirement(every, one_of)


def check_known(names: Iterable[str], purposes: PurposesConfig, path: KeyPath, problems: Problems) -> None:
    """Note the purposes that a type declares and nobody has defined."""
    for name in names:
        if name not in purposes.known:
            problems.add(path, f"the type requires the purpose {name!r}, which is not defined", _define(name))


def _required(value: object, purposes: PurposesConfig) -> tuple[str, ...]:
    try:
        names = texts(value)
    except Wrong as wrong:
        raise Wrong(wrong.reason, wrong.suggestion or 'write ["necessary"] when no consent is needed') from None
    for name in names:
        if purposes.resolve(name) not in purposes.known:
            guess = did_you_mean(name, (*purposes.known, *purposes.aliases))
            raise Wrong(f"unknown purpose {name!r}", f"{guess} or {_define(name)}")
    return tuple(dict.fromkeys(map(purposes.resolve, names)))


def _define(name: str) -> str:
    return f'define it: [purposes] custom = ["{name}"]'


def _custom(value: object, problems: Problems) -> tuple[str, ...]:
    """The names that are right; those that are not become problems."""
    path = ("purposes", CUSTOM)
    right = []
    try:
        for name in texts(value):
            if name in BUILT_IN_PURPOSES:
                problems.add(path, f"{name} is built in", "leave it out")
                continue
            _check_name(name)
            right.append(name)
    except Wrong as wrong:
        problems.add_wrong(path, wrong)
    return tuple(right)


def _alias(name: str, target: object, known: tuple[str, ...]) -> str:
    _check_name(name)
    if name in known:
        raise Wrong("is a purpose, and can't be an alias too", "leave it out")
    if not isinstance(target, str):
        raise Wrong("an alias must name one purpose", f"known: {', '.join(known)}")
    if target not in known:
        raise Wrong(f"stands for {target!r}, which is not a purpose", did_you_mean(target, known))
    return target


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise Wrong(
            f"a purpose's name has 1 to {MAX_NAME} printable characters and no spaces around",
            'write one like "measurement"',
        )

"""The `destinations` command: which destination types there are, and what they take."""

from __future__ import annotations

import json
from inspect import cleandoc
from typing import Any

import click
import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sluicegate.config.declaration import Settings
from sluicegate.config.plugins import Plugins
from sluicegate.config.problems import Wrong
from sluicegate.config.wording import type_text
from sluicegate.scripts.options import json_option


@click.command()
@click.argument("type_name", metavar="[TYPE]", required=False)
@json_option
def destinations(type_name: str | None, as_json: bool) -> None:
    """List the destination types that are installed; with TYPE, its settings too."""
    plugins = Plugins.installed()
    if type_name is not None and type_name not in plugins.types:
        raise click.UsageError(
            f"no installed type is called {type_name!r}; there are: {', '.join(sorted(plugins.types))}"
        )
    names = [type_name] if type_name else sorted(plugins.types)
    found = [described(name, plugins) for name in names]
    if as_json:
        click.echo(json.dumps(found))
    elif type_name:
        _print_one(found[0])
    else:
        _print_all(found)


def described(name: str, plugins: Plugins) -> dict[str, Any]:
    """A type: its package and extra, its settings with their defaults, the purposes it always needs, its limits."""
    entry = plugins.types[name]
    about: dict[str, Any] = {"type": name, "package": entry.dist.metadata["Name"] if entry.dist else ""}
    about["extra"] = plugins.install_command(name)
    about["installed"] = not plugins.missing(name)
    try:
        settings_type = plugins.settings_type(name)
    except Wrong as wrong:
        return {**about, "error": wrong.reason}
    if settings_type is None:
        return {**about, "error": "registers no settings; they are checked when it loads"}
    limits = settings_type.limits
    return {
        **about,
        "requires": list(settings_type.requires),
        "limits": {
            "events": limits.max_events,
            "bytes": limits.max_bytes,
            "in_flight": limits.in_flight,
            "age_s": limits.age_s,
        },
        "settings": settings_of(settings_type),
        "about": cleandoc(settings_type.__doc__ or ""),
    }


def settings_of(settings_type: type[Settings]) -> list[dict[str, Any]]:
    """The keys of a settings class: name, type, and default where there is one."""
    rows = []
    for field in msgspec.structs.fields(settings_type):
        row: dict[str, Any] = {"key": field.encode_name, "type": type_text(field.type), "required": field.required}
        if field.default is not msgspec.NODEFAULT:
            row["default"] = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            row["default"] = field.default_factory()
        rows.append(row)
    return rows


def example(one: dict[str, Any]) -> str:
    """The least that a configuration needs for a type, as TOML; secrets come from the environment."""
    name = one["type"]
    lines = [
        f"[destinations.{name}]",
        f'type = "{name}"',
        f"requires = {json.dumps(one['requires'] or ['measurement'])}",
    ]
    for row in one["settings"]:
        if row["required"]:
            value = f"${{{name.upper()}_{row['key'].upper()}}}" if row["type"] == "secret" else "..."
            lines.append(f"{row['key']} = {json.dumps(value)}")
    return "\n".join(lines)


def _table(*names: str) -> Table:
    return Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE)


def _print_all(found: list[dict[str, Any]]) -> None:
    table = _table("type", "needs consent for", "required settings", "extra")
    for one in found:
        if "error" in one:
            table.add_row(one["type"], escape(one["error"]))
            continue
        required = ", ".join(row["key"] for row in one["settings"] if row["required"])
        table.add_row(
            one["type"],
            ", ".join(one["requires"]) or "-",
            required or "-",
            _extra_text(one),
        )
    Console().print(table)
    click.echo("an extra is installed by: pip install 'sluicegate[EXTRA]'")
    click.echo("settings, limits and an example of one: sluicegate destinations TYPE")


def _extra_text(one: dict[str, Any]) -> str:
    if not one["extra"]:
        return "-"
    return str(one["type"]) if one["installed"] else f"{one['type']}, not installed"


def _print_one(one: dict[str, Any]) -> None:
    if "error" in one:
        click.echo(f"{one['type']}: {one['error']}")
        return
    limits = one["limits"]
    click.echo(f"{one['type']}: {one['about']}\n")
    click.echo(f"always needs consent for: {', '.join(one['requires']) or 'nothing of its own'}")
    click.echo(
        f"at most {limits['events']:,} events, {limits['bytes']:,} bytes a call, {limits['in_flight']} at a time"
    )
    if limits["age_s"]:
        click.echo(f"events wait up to {limits['age_s']:g} s for others to fill a call (batch_age)")
    if one["extra"]:
        click.echo(f"needs {one['extra']} ({'installed' if one['installed'] else 'not installed'})")
    table = _table("key", "type", "default")
    for row in one["settings"]:
        default = "required" if row["required"] else json.dumps(row["default"], default=str)
        table.add_row(row["key"], escape(row["type"]), escape(default))
    Console().print(table)
    click.echo(f"In the configuration, with what else the text above asks for:\n\n{example(one)}")

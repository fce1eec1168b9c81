"""The generated parts of docs/commands.md and docs/messages.md, from what the commands and messages say themselves.

`python -m sluicegate.scripts.reference docs/commands.md docs/messages.md` renews them.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import click

from sluicegate.messages import codec, consent, control, ingest, status
from sluicegate.messages.codec import Message
from sluicegate.scripts.admin import main

COMMON = ("config_path", "data_dir", "help")
"""Options that are described once, at the beginning of the page."""
MODULES = (ingest, consent, control, status)

_BLOCK = re.compile(r"(<!-- (command|messages|fields): ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(page: str) -> str:
    """The page with every generated block as it should be now."""
    return _BLOCK.sub(lambda match: f"{match[1]}{_GENERATORS[match[2]](match[3])}{match[4]}", page)


def commands(command: click.Command = main, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name, such as `dead-letters list`."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, *path, name)


def messages() -> dict[str, type[Message]]:
    """Every message, by name, in the order of the modules."""
    found = {}
    for module in MODULES:
        for name, one in vars(module).items():
            if isinstance(one, type) and issubclass(one, Message) and one is not codec.Message:
                found[name] = one
    return found


def field_docs(cls: type) -> dict[str, str]:
    """What stands below the fields of a dataclass."""
    (body,) = (node.body for node in ast.parse(dedent(inspect.getsource(cls))).body if isinstance(node, ast.ClassDef))
    return {
        before.target.id: inspect.cleandoc(str(after.value.value))
        for before, after in pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def _command_text(name: str) -> str:
    command = dict(commands())[name]
    context = click.Context(command, info_name=f"sluicegate {name}")
    usage = " ".join(["sluicegate", name, *command.collect_usage_pieces(context)])
    text = f"```\n{usage}\n```\n\n{_prose(command.help or '')}\n"
    rows = [
        f"| `{_cell(_names(option))}` | {_cell(_meaning(option))} |"
        for option in command.params
        if isinstance(option, click.Option) and option.name not in COMMON and "--json" not in option.opts
    ]
    return text + ("\n" + _table(("option", "meaning"), rows) if rows else "")


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    if option.metavar:
        return f"{names} {option.metavar}"
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(option.type.choices)}"
    return f"{names} {option.type.name.split(' ')[0].upper()}"


def _meaning(option: click.Option) -> str:
    default = f" Default: {option.default}." if option.show_default else ""
    required = " Must be given." if option.required else ""
    help_text = (option.help or "").strip()
    stop = "" if help_text.endswith((".", "]")) or not help_text else "."
    return f"{help_text}{stop}{required}{default}".strip()


def _messages_text(names: str) -> str:
    known = messages()
    return "\n".join(
        f"### {name}\n\n{_prose(known[name].__doc__ or '')}\n\n{_fields(known[name])}" for name in names.split()
    )


def _fields_text(name: str) -> str:
    """The fields of a message as JSON has them."""
    one = messages()[name]
    docs = field_docs(one)
    rows = [f"| `{f.name}` | {_cell(_json_type(str(f.type)))} | {_cell(docs[f.name])} |" for f in _fields_of(one)]
    return _table(("field", "type", "meaning"), rows)


def _fields(one: type[Message]) -> str:
    docs, names = field_docs(one), ["field", "type", "default"]
    rows = [f"| `{f.name}` | `{_cell(str(f.type))}` | {_default(f)} |" for f in _fields_of(one)]
    if docs:
        names.append("meaning")
        rows = [f"{row} {_cell(docs.get(f.name, ''))} |" for row, f in zip(rows, _fields_of(one), strict=True)]
    return _table(names, rows)


def _fields_of(one: type[Message]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(one)  # type: ignore[arg-type]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return "`{}`" if field.default_factory is not dataclasses.MISSING else ""


_JSON_TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "None": "null"}


def _json_type(annotation: str) -> str:
    words = [_JSON_TYPES.get(part, "object") for part in annotation.split(" | ")]
    return " or ".join(words)


def _prose(text: str) -> str:
    return inspect.cleandoc(text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(names: Sequence[str], rows: list[str]) -> str:
    return "\n".join([f"| {' | '.join(names)} |", "|" + "---|" * len(names), *rows]) + "\n"


_GENERATORS = {"command": _command_text, "messages": _messages_text, "fields": _fields_text}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        path.write_text(renewed(path.read_text()))

"""The `sluicegate` command: everything a person does to a system, running or not.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration, 3 no running system.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import click

import sluicegate
from sluicegate.errors import ConfigError, NotRunning, SluicegateError

# Each command's module is imported when it is called: `status` needs no HTTP server, `demo` no bench.
COMMANDS = {
    "audit": ("sluicegate.scripts.audit", "audit"),
    "bench": ("sluicegate.scripts.bench", "bench"),
    "clear": ("sluicegate.scripts.control", "clear"),
    "consent": ("sluicegate.scripts.consent", "consent"),
    "dead-letters": ("sluicegate.scripts.dead_letters", "dead_letters"),
    "demo": ("sluicegate.scripts.demo", "demo"),
    "destinations": ("sluicegate.scripts.destinations", "destinations"),
    "erase": ("sluicegate.scripts.regulations", "erase"),
    "explain": ("sluicegate.scripts.explain", "explain"),
    "fsck": ("sluicegate.scripts.fsck", "fsck"),
    "hash-key": ("sluicegate.scripts.hash_key", "hash_key"),
    "init": ("sluicegate.scripts.setup", "init"),
    "load": ("sluicegate.scripts.control", "load"),
    "pause": ("sluicegate.scripts.control", "pause"),
    "preload": ("sluicegate.scripts.control", "preload"),
    "regulations": ("sluicegate.scripts.regulations", "regulations"),
    "reset": ("sluicegate.scripts.control", "reset"),
    "resume": ("sluicegate.scripts.control", "resume"),
    "retry": ("sluicegate.scripts.control", "retry"),
    "send": ("sluicegate.scripts.send", "send"),
    "serve": ("sluicegate.scripts.serve", "serve"),
    "simulate": ("sluicegate.scripts.simulate", "simulate"),
    "stats": ("sluicegate.scripts.status", "stats"),
    "status": ("sluicegate.scripts.status", "status"),
    "stop": ("sluicegate.scripts.serve", "stop"),
    "suppress": ("sluicegate.scripts.regulations", "suppress"),
    "top": ("sluicegate.scripts.status", "top"),
    "unload": ("sluicegate.scripts.control", "unload"),
    "unsuppress": ("sluicegate.scripts.regulations", "unsuppress"),
    "validate": ("sluicegate.scripts.setup", "validate"),
}


class Commands(click.Group):
    """Finds commands by name, and turns our errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name]
        quiet, root = logging.NullHandler(), logging.getLogger()
        root.addHandler(quiet)  # Thespian's import warns where this machine's own name does not resolve; nobody minds
        try:
            command: click.Command = getattr(import_module(module), attribute)
        finally:
            root.removeHandler(quiet)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours is its message and an exit code, never a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)
        except NotRunning as error:
            click.echo(str(error), err=True)
            ctx.exit(3)
        except SluicegateError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sluicegate.__version__, prog_name="sluicegate")
def main() -> None:
    """Consent-aware event router: Segment API in, the destinations that consent allows out."""


if __name__ == "__main__":
    main()

"""The `sluicegate` command: everything a person does to a system, running or not.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration, 3 no running system.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import click

import sluicegate
from sluicegate.errors import SluicegateError
from sluicegate.scripts.failures import asks_for_json, failure_of
from sluicegate.scripts.standard_files import open_standard_files

log = logging.getLogger(__name__)

_FOR_PROGRAMS = "sluicegate.for_programs"

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
    "top": ("sluicegate.scripts.top", "top"),
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note for whom the answer is before anything can go wrong."""
        ctx.meta[_FOR_PROGRAMS] = asks_for_json(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that a person can do something about is its text and an exit code, no traceback.

        It goes to standard error, with `--json` as one line of JSON.
        """
        try:
            return super().invoke(ctx)
        except (SluicegateError, OSError, UnicodeEncodeError, click.ClickException) as error:
            failure, as_json = failure_of(error), ctx.meta[_FOR_PROGRAMS]
            if failure is None or (isinstance(error, click.ClickException) and not as_json):
                raise
            log.debug("%s failed", ctx.invoked_subcommand, exc_info=error)
            click.echo(failure.as_json() if as_json else failure.error, err=True)
            ctx.exit(failure.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sluicegate.__version__, prog_name="sluicegate")
def main() -> None:
    """Consent-aware event router: Segment API in, the destinations that consent allows out."""
    open_standard_files()


if __name__ == "__main__":
    main()

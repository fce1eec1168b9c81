"""The `hash-key` command: a key for a sender, and its hash for the configuration."""

from __future__ import annotations

import json
import secrets
import sys

import click

from sluicegate.config.entrance import check_plain_key
from sluicegate.config.hashed import MIN_HASHED_KEY, hashed
from sluicegate.config.problems import Wrong
from sluicegate.errors import Refused
from sluicegate.scripts.options import json_option

_KEY_BYTES = 24


@click.command("hash-key")
@click.option("--stdin", "from_stdin", is_flag=True, help="Hash the key on standard input instead of making one.")
@json_option
def hash_key(from_stdin: bool, as_json: bool) -> None:
    """Make a write key, and print the hash that the configuration may hold in its place.

    The key itself is printed once and kept nowhere; whoever sends events needs it.
    """
    key = _given() if from_stdin else secrets.token_urlsafe(_KEY_BYTES)
    if as_json:
        click.echo(json.dumps({"hash": hashed(key)} if from_stdin else {"key": key, "hash": hashed(key)}))
        return
    if not from_stdin:
        click.echo(f"key, for the sender; it is shown once: {key}")
    click.echo(f'hash, for write_keys or regulation_keys: "{hashed(key)}"')


def _given() -> str:
    """The key on standard input, without its end of line: an argument would show in the list of processes."""
    key = sys.stdin.buffer.read().decode(errors="replace").rstrip("\r\n")
    try:
        check_plain_key(key)
    except Wrong as wrong:
        raise Refused(f"the key {wrong.reason}; {wrong.suggestion or 'leave out --stdin to have one made'}") from None
    if len(key) < MIN_HASHED_KEY:
        raise Refused(
            f"the key has fewer than {MIN_HASHED_KEY} characters, so its hash could be guessed back; "
            "leave out --stdin to have one made"
        )
    return key

"""Commands that start and end a system: serve, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click

from sluicegate.actors.processes import exited
from sluicegate.config import Config, embedded_config, load
from sluicegate.errors import NotRunning, Refused
from sluicegate.lock import holder, taken_by
from sluicegate.logs import LEVELS, LogFormat, LogStyle, set_up_logs
from sluicegate.masking import hide
from sluicegate.paths import DataDir
from sluicegate.running import find_running
from sluicegate.scripts.options import (
    DEFAULT_DATA_DIR,
    Seconds,
    existing_config,
    find_data_dir,
    json_option,
    system_options,
)
from sluicegate.scripts.storage import prepare_directory


@click.command()
@system_options
@click.option("--listen", metavar="HOST:PORT", help="Where the gateway listens; overrides the configuration's.")
@click.option("--port", type=click.IntRange(1, 65535), help="Loopback port of the actor system; default: a free one.")
@click.option("--log-level", type=click.Choice(LEVELS), help="Default: the configuration's, else info.")
@click.option(
    "--log-format",
    type=click.Choice([one.value for one in LogFormat]),
    help="Default: the configuration's, else console on a terminal and json elsewhere.",
)
def serve(
    config_path: Path | None,
    data_dir: Path | None,
    listen: str | None,
    port: int | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Run the whole system in the foreground until SIGTERM or Ctrl-C."""
    config = _configuration(config_path, data_dir, listen, port)
    hide(config.secrets)
    style = LogStyle(log_level or config.logs.level, LogFormat(log_format or config.logs.format))
    config = replace(config, logs=set_up_logs(style))
    from sluicegate.scripts.launcher import Launcher

    sys.exit(Launcher(config).run())


def _configuration(config_path: Path | None, data_dir: Path | None, listen: str | None, port: int | None) -> Config:
    path = existing_config(config_path)
    if path is not None:
        return load(path, environ=os.environ, data_dir=data_dir, listen=listen, actor_port=port)
    prepare_directory(DataDir(data_dir or DEFAULT_DATA_DIR))
    config, new_key = embedded_config(data_dir or DEFAULT_DATA_DIR, listen=listen, actor_port=port)
    if new_key is not None:
        click.echo(f"no configuration: every event goes to {config.data_dir}/events.jsonl")
        click.echo(f"write key (shown once, kept in {config.data_dir}/write-key): {new_key}")
    return config


@click.command()
@click.option(
    "--timeout",
    "timeout_s",
    default=30.0,
    show_default=True,
    type=Seconds(min=0),
    help="Seconds to wait for its end.",
)
@json_option
@system_options
def stop(timeout_s: float, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """End the running system; returns when it has committed everything and is gone."""
    where = find_data_dir(config_path, data_dir)
    pid = holder(where.lock) or find_running(where).pid
    if by := taken_by(where.lock):
        raise NotRunning(f"no system runs on {where.root}: `{by}` (pid {pid}) is at work there")
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile, as another `stop` may have told it
        _end(pid, timeout_s)
    click.echo(json.dumps({"stopped": True, "pid": pid}) if as_json else "stopped")


def _end(pid: int, timeout_s: float) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not exited([pidfd], timeout_s=timeout_s):
            raise Refused(f"pid {pid} has not ended after {timeout_s:.0f} s")
    finally:
        os.close(pidfd)

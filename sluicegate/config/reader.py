"""From a TOML file to a checked configuration."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.config.consent import read_consent
from sluicegate.config.destinations import DestinationReader
from sluicegate.config.entrance import (
    read_actor_port,
    read_gateway,
    read_log,
    read_logs,
    read_supervisor,
    unknown_keys,
)
from sluicegate.config.environment import substitute
from sluicegate.config.files import check_files
from sluicegate.config.keys import TABLES
from sluicegate.config.model import Config
from sluicegate.config.network import read_network
from sluicegate.config.plugins import Plugins
from sluicegate.config.problems import Problems
from sluicegate.config.purposes import read_purposes
from sluicegate.config.secrets import sensitive_texts, web_secrets
from sluicegate.errors import ConfigError, Problem

DEFAULT_FILE = Path("sluicegate.toml")
DEFAULT_DATA_DIR = "data"
MAX_FILE_BYTES = 4 * 1024 * 1024
"""A thousand destinations take about 200 KiB; more is not a configuration."""
_TOP_KEYS = tuple(
    dict.fromkeys(name for table in TABLES for name in (table.names if not table.name else [table.name.split(".")[0]]))
)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    data_dir: Path | None = None,
    listen: str | None = None,
    actor_port: int | None = None,
) -> Config:
    """The configuration in this file (`sluicegate.toml` for None); raises `ConfigError` with every mistake.

    What is given here wins over the file, the file over the defaults. A `data_dir` in the file is relative to the
    file's folder, so that the same system is meant wherever a command is started.
    """
    path = path or DEFAULT_FILE
    return from_document(
        _parse(path),
        source=str(path),
        folder=path.absolute().parent,
        environ=environ,
        data_dir=data_dir,
        listen=listen,
        actor_port=actor_port,
    )


def find_data_dir(path: Path | None, *, environ: Mapping[str, str]) -> Path:
    """The data directory that a file names, without checking the rest of it; raises `ConfigError`.

    For commands that talk to a running system, whose users may not have its secrets in their environment.
    """
    path = path or DEFAULT_FILE
    raw = _parse(path).get("data_dir", DEFAULT_DATA_DIR)
    problems = Problems({"data_dir": raw})
    found = _data_dir(substitute({"data_dir": raw}, environ, problems), path.absolute().parent, None, problems)
    problems.raise_if_any(str(path))
    return found


def from_document(
    document: Mapping[str, Any],
    *,
    source: str,
    folder: Path,
    environ: Mapping[str, str],
    data_dir: Path | None = None,
    listen: str | None = None,
    actor_port: int | None = None,
    plugins: Plugins | None = None,
) -> Config:
    """The configuration in a parsed file that lies in `folder`; `source` names it in `ConfigError`."""
    problems = Problems(document)
    values = substitute(document, environ, problems)
    unknown_keys(values, _TOP_KEYS, (), problems)
    purposes = read_purposes(values, problems)
    supervisor = read_supervisor(values, problems)
    network = read_network(values, problems)
    destinations = DestinationReader(plugins or Plugins.installed(), purposes, supervisor, network, problems)
    read = destinations.read_all(values)
    where = _data_dir(values, folder, data_dir, problems)
    check_files(destinations.files, where, problems)
    vendors = sorted({d.tcf_vendor_id for d in read.values() if d.tcf_vendor_id is not None})
    config = Config(
        data_dir=where,
        gateway=read_gateway(values, listen, problems, folder=folder),
        supervisor=supervisor,
        destinations=read,
        actor_port=read_actor_port(values, actor_port, problems),
        purposes=replace(purposes, vendors=tuple(vendors)),
        log=read_log(values, problems),
        logs=read_logs(values, problems),
        consent=read_consent(values, purposes, problems),
    )
    problems.raise_if_any(source)
    return replace(config, secrets=tuple(dict.fromkeys(_secrets(config, values, destinations.secrets, problems))))


def _secrets(config: Config, values: Mapping[str, Any], declared: Iterable[str], problems: Problems) -> Iterator[str]:
    """Every secret text: what is declared or named as one, what web addresses hold, variables named like one."""
    yield from (key.reveal() for key in config.gateway.write_keys.values())
    yield from (key.reveal() for key in config.gateway.regulation_keys.values())
    yield from declared
    for name, raw in values.get("destinations", {}).items():
        yield from sensitive_texts(raw, ("destinations", name))
        yield from web_secrets(raw)
    yield from problems.sensitive_variables


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise _file_error(path, f"is larger than {MAX_FILE_BYTES} bytes", "check that it is the right file")
        return tomllib.loads(data.removeprefix(codecs.BOM_UTF8).decode())
    except FileNotFoundError as error:
        raise _file_error(path, "does not exist", "make one with: sluicegate init") from error
    except OSError as error:
        raise _file_error(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _file_error(path, f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _file_error(path, "is nested too deeply") from error
    except ValueError as error:
        raise _file_error(path, f"is not TOML: {error}", "texts need quotes; see toml.io") from error


def _file_error(path: Path, reason: str, suggestion: str = "") -> ConfigError:
    return ConfigError([Problem("file", None, reason, suggestion)], source=str(path))


def _data_dir(values: Mapping[str, Any], folder: Path, override: Path | None, problems: Problems) -> Path:
    if override is not None:
        return override.absolute()
    raw = values.get("data_dir", DEFAULT_DATA_DIR)
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        problems.add(("data_dir",), "must be the path of a folder", f'write data_dir = "{DEFAULT_DATA_DIR}"')
        return folder
    if raw.startswith("~"):
        problems.add(("data_dir",), "~ is not expanded", "write ${HOME} for your home folder")
    return folder / raw

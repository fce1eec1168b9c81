"""The configuration of a system that has no configuration file."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from sluicegate.config.entrance import MIN_WRITE_KEY
from sluicegate.config.model import Config
from sluicegate.config.plugins import Plugins
from sluicegate.config.reader import from_document
from sluicegate.errors import ConfigError, Problem
from sluicegate.paths import DataDir

SOURCE = "built-in configuration"
WRITE_KEY_SOURCE = "default"


def embedded_config(
    data_dir: Path, *, listen: str | None = None, actor_port: int | None = None, plugins: Plugins | None = None
) -> tuple[Config, str | None]:
    """The configuration, and its write key if it was made by this call.

    It writes every event to `events.jsonl` in the data directory. The write key is made once and kept in the file
    `write-key` there, mode 0600. Raises `ConfigError` when the directory cannot be used.
    """
    paths = DataDir(data_dir.absolute())
    try:
        paths.create()
        key, is_new = _persistent_key(paths.write_key)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    config = _config(paths, key, listen=listen, actor_port=actor_port, plugins=plugins)
    return config, key if is_new else None


def kept_embedded_config(data_dir: Path) -> Config | None:
    """The configuration by which a system has run here without a file, None when none has; creates nothing."""
    paths = DataDir(data_dir.absolute())
    try:
        key = _key_in(paths.write_key)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    return _config(paths, key)


def _unusable(data_dir: Path, error: OSError) -> ConfigError:
    problem = Problem("data_dir", str(data_dir), f"cannot be used: {error.strerror}", "choose another --data-dir")
    return ConfigError([problem], source=SOURCE)


def _config(
    paths: DataDir,
    key: str,
    *,
    listen: str | None = None,
    actor_port: int | None = None,
    plugins: Plugins | None = None,
) -> Config:
    if paths.write_key.stat().st_mode & 0o077:
        problem = Problem("write-key", None, "others can read it", f"run: chmod 600 {paths.write_key}")
        raise ConfigError([problem], source=SOURCE)
    if len(key) < MIN_WRITE_KEY:
        problem = Problem("write-key", None, "holds no write key", f"delete {paths.write_key} to have a new one made")
        raise ConfigError([problem], source=SOURCE)
    document = {
        "gateway": {"write_keys": {WRITE_KEY_SOURCE: key.replace("${", "$${")}},
        "destinations": {"archive": {"type": "file", "requires": ["necessary"], "path": "events.jsonl"}},
    }
    return from_document(
        document,
        source=SOURCE,
        folder=paths.root,
        environ={},
        data_dir=paths.root,
        listen=listen,
        actor_port=actor_port,
        plugins=plugins,
    )


def _persistent_key(path: Path) -> tuple[str, bool]:
    """The key in this file, made if there is none; a link makes it appear whole, and only once."""
    if not path.exists():
        key = secrets.token_urlsafe(24)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".write-key-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{key}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
            return key, True
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
    return _key_in(path), False


def _key_in(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()

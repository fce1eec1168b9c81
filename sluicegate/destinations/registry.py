"""Finding a destination type by its name; nothing of a type is imported before `load_type`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from sluicegate.config.plugins import TYPES_GROUP
from sluicegate.destinations.base import Destination
from sluicegate.errors import NotInstalled, NotReady


def load_type(name: str) -> type[Destination]:
    """Import the class registered under this name.

    Raises `NotInstalled`, with the command that mends it, when something is missing, `NotReady` when the import fails.
    """
    entry = _entry(name)
    try:
        found = entry.load()
    except ModuleNotFoundError as error:
        raise NotInstalled(_missing(name, entry, error)) from error
    except Exception as error:
        raise NotReady(
            f"type {name!r} cannot be imported from {entry.value}: {type(error).__name__}: {error}"
        ) from error
    except SystemExit as error:
        raise NotReady(f"type {name!r} cannot be imported: {entry.value} ends the process") from error
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise NotInstalled(f"type {name!r}: {entry.value} is not a Destination class; tell the type's author")
    return found


def _entry(name: str) -> EntryPoint:
    entries = list(entry_points(group=TYPES_GROUP, name=name))
    if entries:
        return entries[0]
    known = ", ".join(sorted(entry_points(group=TYPES_GROUP).names))
    raise NotInstalled(
        f"no installed package has a destination type {name!r} (there are: {known}); pip install its package"
    )


def _missing(name: str, entry: EntryPoint, error: ModuleNotFoundError) -> str:
    dist = entry.dist.metadata["Name"] if entry.dist else "its package"
    if error.name and entry.module.split(".")[0] == error.name.split(".")[0]:
        return (
            f"type {name!r}: {dist} is registered but {entry.module} is not there; pip install --force-reinstall {dist}"
        )
    extras = entry.dist.metadata.get_all("Provides-Extra") or [] if entry.dist else []
    wanted = f"'{dist}[{name}]'" if name in extras else (error.name or "").split(".")[0]
    return f"type {name!r} needs the module {error.name}, which is not installed; pip install {wanted}"

"""Which destination types are installed; looking does not import them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.problems import Wrong

TYPES_GROUP = "sluicegate.destinations"
SETTINGS_GROUP = "sluicegate.settings"


@dataclass(frozen=True, slots=True)
class Plugins:
    """The registered types and settings classes by name; `clashes` are names that several packages claim."""

    types: Mapping[str, EntryPoint]
    settings: Mapping[str, EntryPoint] = field(default_factory=dict)
    clashes: frozenset[str] = frozenset()

    @classmethod
    def installed(cls) -> Plugins:
        """What the installed packages register."""
        types, clashes = _by_name(TYPES_GROUP)
        settings, more_clashes = _by_name(SETTINGS_GROUP)
        return cls(types, settings, clashes | more_clashes)

    def settings_type(self, name: str) -> type[Settings] | None:
        """The settings class of a type, None when it registers none; raises `Wrong` when it cannot be used."""
        entry = self.settings.get(name)
        if entry is None:
            return None
        try:
            found = entry.load()
        except (Exception, SystemExit) as error:
            raise Wrong(
                f"the settings of this type cannot be imported from {entry.value}: {type(error).__name__}: {error}",
                "repair or reinstall its package, or set enabled = false",
            ) from error
        check_declaration(found)
        return found  # type: ignore[no-any-return]

    def install_command(self, name: str) -> str:
        """The command that installs the extra of a type, empty when it needs none."""
        dist = self.types[name].dist
        if dist is None or name not in (dist.metadata.get_all("Provides-Extra") or []):
            return ""
        return f"pip install '{dist.metadata['Name']}[{name}]'"

    def missing(self, name: str) -> list[str]:
        """The packages of a type's extra that are not installed; nothing is imported to know."""
        dist = self.types[name].dist
        found = []
        for text in (dist.requires or []) if dist is not None else []:
            package, _, marker = text.partition(";")
            if re.search(rf"""\bextra *== *["']{re.escape(name)}["']""", marker):
                try:
                    distribution(re.split(r"[^\w.-]", package.strip())[0])
                except PackageNotFoundError:
                    found.append(package.strip())
        return found


def check_declaration(found: object) -> None:
    """Raise `Wrong` unless this is a settings class whose declarations can be relied on."""
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise Wrong("the settings that this type registers are not a Settings class", "tell the type's author")
    requires = found.requires
    if not isinstance(requires, tuple) or not all(isinstance(name, str) for name in requires):
        raise Wrong(f"{found.__name__}.requires is not a tuple of purposes", "tell the type's author")
    if not isinstance(found.limits, Limits):
        raise Wrong(f"{found.__name__}.limits is not a Limits object", "tell the type's author")


def _by_name(group: str) -> tuple[dict[str, EntryPoint], frozenset[str]]:
    found: dict[str, EntryPoint] = {}
    clashes = set()
    for entry in entry_points(group=group):
        if found.setdefault(entry.name, entry).value != entry.value:
            clashes.add(entry.name)
    return found, frozenset(clashes)

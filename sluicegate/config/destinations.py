"""Reading `[destinations.ID]`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluicegate.config.consent import read_on_denied, read_on_undecided
from sluicegate.config.declaration import Settings
from sluicegate.config.keys import DESTINATION
from sluicegate.config.mapping import MapReader
from sluicegate.config.model import (
    DEFAULT_TIMEOUT_S,
    DestinationConfig,
    OnDenied,
    PurposesConfig,
    Requirement,
    SupervisorConfig,
    vendor_purpose,
)
from sluicegate.config.names import ID_RULE, is_id
from sluicegate.config.network import check_addresses
from sluicegate.config.plugins import Plugins
from sluicegate.config.problems import KeyPath, Problems, Wrong, did_you_mean
from sluicegate.config.purposes import check_known, read_requirement
from sluicegate.config.scalars import read_scalars, read_table, texts
from sluicegate.config.secrets import secrets_in
from sluicegate.config.settings import convert_settings
from sluicegate.event import EventType
from sluicegate.network import Network

log = logging.getLogger(__name__)

_LIMITS = (("batch_size", "max_events"), ("batch_bytes", "max_bytes"), ("in_flight", "in_flight"))
"""Keys that lower a declared limit, and the field of `Limits` that has it."""


@dataclass(frozen=True, slots=True)
class DestinationReader:
    """Reads destinations against what is installed and what the rest of the file says."""

    plugins: Plugins
    purposes: PurposesConfig
    supervisor: SupervisorConfig
    network: Network
    problems: Problems
    secrets: list[str] = field(default_factory=list, repr=False)
    """What the types declare as secret, of all destinations read so far."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each enabled destination that writes a file the key that names it, and the path."""

    def read_all(self, document: Mapping[str, Any]) -> dict[str, DestinationConfig]:
        """Every destination that has no mistakes, by id; the mistakes of the others become problems."""
        found: dict[str, DestinationConfig] = {}
        for name, raw in read_table(document, "destinations", self.problems).items():
            path = ("destinations", name)
            if not is_id(name):
                self.problems.add(path, "not a destination id", ID_RULE)
            elif not isinstance(raw, Mapping):
                self.problems.add(path, "must be a table", f"write [destinations.{name}] on a line of its own")
            elif (destination := self._read(name, raw)) is not None:
                found[name] = destination
        return found

    def _read(self, name: str, raw: Mapping[str, Any]) -> DestinationConfig | None:
        path = ("destinations", name)
        values = read_scalars(raw, DESTINATION, path, self.problems)
        settings = {key: value for key, value in raw.items() if key not in DESTINATION.names}
        kind = self._type(raw.get("type", name), path)
        settings_type = self._settings_type(kind, values.get("enabled", True), path) if kind else None
        requires = self._requires(raw, values, settings_type, path)
        if "events" in raw:
            values["events"] = self._events(raw["events"], path)
        if "on_undecided" in raw:
            try:
                values["on_undecided"] = read_on_undecided(raw["on_undecided"])
            except Wrong as wrong:
                self.problems.add_wrong((*path, "on_undecided"), wrong)
        if "on_denied" in raw:
            self._read_on_denied(raw["on_denied"], values, settings_type, path)
        if "map" in raw:
            values["map"] = MapReader((*path, "map"), self.problems).read(raw["map"])
        if settings_type is not None:
            self._check_settings(settings, settings_type, path)
            self._check_limits(values, settings_type, path)
            file = settings.get(settings_type.own_file)
            if isinstance(file, str) and file.strip() and "\0" not in file and values.get("enabled", True):
                self.files[name] = settings_type.own_file, file
        self._check_timeout(values, path)
        check_addresses(settings, path, self.network, self.problems)
        if kind is None or requires is None:
            return None
        return DestinationConfig(
            id=name, type=kind, requires=requires, settings=settings, network=self.network, **values
        )

    def _type(self, kind: object, path: KeyPath) -> str | None:
        """The type if it is installed."""
        here = (*path, "type")
        if not isinstance(kind, str):
            self.problems.add(here, "must be a text", did_you_mean("", self.plugins.types))
        elif kind in self.plugins.clashes:
            self.problems.add(here, f"several installed packages have a type {kind}", "uninstall all but one")
        elif kind not in self.plugins.types:
            self.problems.add(here, f"no installed type is called {kind!r}", did_you_mean(kind, self.plugins.types))
        else:
            return kind
        return None

    def _settings_type(self, kind: str, enabled: bool, path: KeyPath) -> type[Settings] | None:
        """The settings class if there is one; a broken one is a problem, for what it requires stays unknown."""
        try:
            return self.plugins.settings_type(kind)
        except Wrong as wrong:
            if enabled:
                self.problems.add((*path, "type"), self.problems.redact(wrong.reason), wrong.suggestion)
            return None

    def _requires(
        self, raw: Mapping[str, Any], values: Mapping[str, Any], settings_type: type[Settings] | None, path: KeyPath
    ) -> Requirement | None:
        here = (*path, "requires")
        if "requires" not in raw:
            reason = "is missing: every destination says which consent it needs"
            self.problems.add(here, reason, 'write requires = ["necessary"] when it needs none')
            return None
        try:
            requirement = read_requirement(raw["requires"], self.purposes)
        except Wrong as wrong:
            self.problems.add_wrong(here, wrong)
            return None
        declared = settings_type.requires if settings_type is not None else ()
        check_known(declared, self.purposes, here, self.problems)
        vendor_id = values.get("tcf_vendor_id")
        if vendor_id is not None:
            requirement = requirement.joined((vendor_purpose(vendor_id),))
        if not values.get("override_plugin_consent"):
            return requirement.joined(declared)
        if left_out := tuple(name for name in declared if name not in requirement.all):
            log.warning(
                "%s: override_plugin_consent leaves out what its type requires: %s", path[-1], ", ".join(left_out)
            )
        return requirement

    def _events(self, value: object, path: KeyPath) -> tuple[str, ...]:
        here = (*path, "events")
        try:
            events = texts(value)
        except Wrong as wrong:
            self.problems.add(here, wrong.reason, wrong.suggestion or "leave it out for all events")
            return ()
        for event in events:
            if event not in [*EventType]:
                self.problems.add(here, f"{event!r} is not an event type", did_you_mean(event, EventType))
        return events

    def _read_on_denied(
        self, value: object, values: dict[str, Any], settings_type: type[Settings] | None, path: KeyPath
    ) -> None:
        try:
            values["on_denied"] = read_on_denied(value)
        except Wrong as wrong:
            self.problems.add_wrong((*path, "on_denied"), wrong)
            return
        if values["on_denied"] is OnDenied.REDACT and settings_type is not None and settings_type.needs_person:
            log.warning(
                '%s: on_denied = "redact" sends events without ids, and this type needs them: most will not go',
                path[-1],
            )

    def _check_settings(self, raw: Mapping[str, Any], settings_type: type[Settings], path: KeyPath) -> None:
        settings = convert_settings(raw, settings_type, path, self.problems, also_known=DESTINATION.names)
        self.secrets.extend(secrets_in(settings))

    def _check_limits(self, values: Mapping[str, Any], settings_type: type[Settings], path: KeyPath) -> None:
        for key, name in _LIMITS:
            declared = getattr(settings_type.limits, name)
            if key in values and values[key] > declared:
                reason = f"is more than the {declared} that the type declares"
                self.problems.add((*path, key), reason, "lower it, or leave it out")

    def _check_timeout(self, values: Mapping[str, Any], path: KeyPath) -> None:
        timeout_s = values.get("timeout_s", DEFAULT_TIMEOUT_S)
        stall_s = self.supervisor.stall_timeout_s
        if timeout_s >= stall_s:
            reason = f"must be less than supervisor.stall_timeout ({stall_s:g}s), after which a call is taken for hung"
            self.problems.add((*path, "timeout"), reason, "lower it, or raise stall_timeout")

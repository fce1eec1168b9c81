"""Every key that Sluicegate itself reads, as rows: parsing, template and reference page all come from here.

Defaults are not repeated: a row names the field of the model that it fills.
"""

from __future__ import annotations

from sluicegate.config.keys.consent import COMPAT, CONSENT, PURPOSES
from sluicegate.config.keys.destination import DESTINATION
from sluicegate.config.keys.gateway import GATEWAY
from sluicegate.config.keys.key import Key, Kind, Table, default_text, number_text
from sluicegate.config.keys.log import LOG
from sluicegate.config.keys.mapping import MAP
from sluicegate.config.keys.supervisor import SUPERVISOR
from sluicegate.config.keys.system import ACTORS, LOGS, NETWORK, TOP

__all__ = [
    "ACTORS",
    "COMPAT",
    "CONSENT",
    "DESTINATION",
    "GATEWAY",
    "LOG",
    "LOGS",
    "MAP",
    "NETWORK",
    "PURPOSES",
    "SUPERVISOR",
    "TABLES",
    "TOP",
    "Key",
    "Kind",
    "Table",
    "default_text",
    "number_text",
]

TABLES = (TOP, GATEWAY, LOG, SUPERVISOR, ACTORS, LOGS, NETWORK, PURPOSES, CONSENT, COMPAT, DESTINATION, MAP)

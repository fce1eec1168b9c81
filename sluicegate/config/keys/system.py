"""The keys of the installation as a whole: where it keeps data, its actors, its log lines, its network."""

from __future__ import annotations

from sluicegate.config.keys.key import Key, Kind, Table
from sluicegate.config.model import Config

TOP = Table(
    "",
    "Keys outside of any table.",
    (
        Key(
            "data_dir",
            Kind.SPECIAL,
            "Where events, cursors and keys are kept; a relative path starts at the folder of this file.",
            sample='"data"',
            sample_is_default=True,
        ),
    ),
)

ACTORS = Table(
    "actors",
    "The actor system, which Python applications and the admin script talk to.",
    (Key("port", Kind.COUNT, "Loopback port; 0 takes a free one.", "actor_port", 0, 65_535, "ports end there"),),
    Config,
)

LOGS = Table(
    "logs",
    "Log lines: of the launcher and the gateway to standard error, of everything else to logs/actors.log.",
    (
        Key(
            "level",
            Kind.SPECIAL,
            "From which level on: debug (also what becomes of every single event), info, warning, error.",
            sample='"info"',
            sample_is_default=True,
        ),
        Key(
            "format",
            Kind.SPECIAL,
            "console for people, json for programs, auto: console on a terminal and json elsewhere.",
            sample='"auto"',
            sample_is_default=True,
        ),
    ),
)

NETWORK = Table(
    "network",
    "What destinations may connect to: public addresses always, loopback and private ones only when listed here.",
    (
        Key(
            "allow",
            Kind.SPECIAL,
            "Private addresses, networks or host names that destinations may connect to; checked at every connection. "
            "A name is trusted with whatever it resolves to. Metadata services of clouds need an entry of their own.",
            sample='["10.1.0.0/16", "receiver.internal"]',
        ),
    ),
)

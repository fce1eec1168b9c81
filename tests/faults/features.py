"""What the tested version can do, read from the keys of its configuration."""

from __future__ import annotations

from sluicegate.config.keys import TABLES

KEEPS_CONSENT = any("ledger" in key.name for table in TABLES for key in table.keys)
"""Whether a consent that is taken back holds for events that are stored already."""

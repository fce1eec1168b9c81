"""All scenarios: to import this module is to register them."""

from __future__ import annotations

from tests.faults import answers, clock, consent, kills, limits, network, starts, stops

GROUPS = (kills, stops, starts, clock, network, consent, limits, answers)

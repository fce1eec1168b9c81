"""All hostile requests."""

from __future__ import annotations

from tests.hostile import bodies, doors, framing, json_bodies, ways_in
from tests.hostile.case import Case

CORPUS: tuple[Case, ...] = (
    *framing.cases(),
    *bodies.cases(),
    *json_bodies.cases(),
    *doors.cases(),
    *ways_in.cases(),
)

"""`python -m tests.sdk.matrix docs/sdks.md` plays every SDK through every scenario and renews the table of the page."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from tests.sdk.line import Fault
from tests.sdk.play import CONSENT, N_EVENTS, SDKS, Outcome, Sdk, Stage

SCENARIOS = {
    "events and consent": Fault.NONE,
    "stored, but 500": Fault.STORED_500,
    "429, `Retry-After: 1`": Fault.REFUSED_429,
    "gateway dies after storing": Fault.STORED_RESTART,
}
_BLOCK = re.compile(r"(<!-- matrix -->\n).*?(<!-- end -->)", re.DOTALL)


def words(outcome: Outcome) -> str:
    """An outcome for a cell: what is stored, and what it took."""
    n_types = len(set(outcome.types))
    if len(outcome.types) > n_types:
        stored = f"**{len(outcome.types)} stored of {N_EVENTS} sent**"
    elif n_types < N_EVENTS:
        stored = f"**{N_EVENTS - n_types} of {N_EVENTS} lost**"
    else:
        stored = "all once" if outcome.stamps == {CONSENT} else "**all once, consent not read**"
    again = f", sent up to {outcome.most_sent} times" if outcome.most_sent > 1 else ""
    n_requests = len(outcome.statuses)
    return f"{stored}{again} ({n_requests} request{'s' * (n_requests > 1)})"


def row(stage: Stage, sdk: Sdk) -> str:
    """One line of the table."""
    if sdk.missing is not None:
        cells = [f"not tried: {sdk.missing}"] * len(SCENARIOS)
        version = ""
    else:
        cells = [words(stage.play(sdk, fault)) for fault in SCENARIOS.values()]
        version = f" {sdk.version}"
    return "| " + " | ".join([f"{sdk.name}{version}", sdk.runner.value, *cells]) + " |"


def table() -> str:
    """The whole table, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            rows = [row(stage, sdk) for sdk in SDKS]
        finally:
            stage.close()
    head = "| " + " | ".join(["SDK", "in", *SCENARIOS]) + " |"
    return "\n".join([head, "|---" * (2 + len(SCENARIOS)) + "|", *rows]) + "\n"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    renewed = table()
    page.write_text(_BLOCK.sub(lambda match: match[1] + renewed + match[2], page.read_text()))
    print(renewed)

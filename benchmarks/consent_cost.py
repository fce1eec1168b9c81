"""What consent costs under the standard load in batches: the same system, with and without it.

    python benchmarks/consent_cost.py [--events 200000] [--runs 5] [--connections 8] [--dir FOLDER]

    as it is            the standard benchmark: three destinations need a purpose each, half of the users refuse one
    all granted         the same where nobody refuses: as many deliveries as in what follows
    without proof       the same without the chain of decisions, which cannot be switched off otherwise
    nothing required    the same stamps, which go into the ledger, but the destinations need nothing
    no consent at all   no stamps, and the destinations need nothing: no look-ups, no ledger, no second decision

All systems are up at the same time and take turns; medians over the runs. A decision at delivery is what lies between
"all granted" and "nothing required", what acceptance has to do between that and "no consent at all".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from turns import Variant, compare

from sluicegate.bench.events import FREE, Says

WITHOUT_PROOF = "without-proof"
VARIANTS = (
    Variant("as it is", Says.MIXED),
    Variant("all granted", Says.GRANTED),
    Variant("without proof", Says.GRANTED, program=(str(Path(__file__).resolve()), WITHOUT_PROOF)),
    Variant("nothing required", Says.GRANTED, FREE),
    Variant("no consent at all", Says.NOTHING, FREE),
)


def serve_without_proof(arguments: list[str]) -> None:
    """The `sluicegate` command with the writing of decisions taken out; its processes are forked and inherit that."""
    from sluicegate.audit.chain import Decisions
    from sluicegate.delivery import commits, store
    from sluicegate.scripts.admin import main

    def nothing(*_: Any, **__: Any) -> None: ...

    store.DestinationStore._prove = nothing  # type: ignore[method-assign]
    store.add_later = nothing
    commits.decisions_of = lambda progress, reasons: Decisions()
    sys.argv = ["sluicegate", *arguments]
    main()


if __name__ == "__main__":
    if sys.argv[1:2] == [WITHOUT_PROOF]:
        serve_without_proof(sys.argv[2:])
    else:
        compare(VARIANTS, title="What consent costs", description=__doc__)

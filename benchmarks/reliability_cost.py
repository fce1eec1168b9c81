"""What the window of message ids and the checksums of the log cost under the standard load in batches.

    python benchmarks/reliability_cost.py [--events 200000] [--runs 5] [--connections 8] [--dir FOLDER]

    as it is            events that come again within a day are left out; each row has two CRC-32C
    no checksums        the same with a checksum that is always 0, which cannot be had otherwise
    no window           `dedup_window = 0`: each event is stored, however often it comes
    neither             both

All systems are up at the same time and take turns; medians over the runs. What the parts take for themselves say
`benchmarks/dedup.py` and `benchmarks/checksums.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from turns import Variant, compare

WITHOUT_CHECKSUMS = "without-checksums"
NO_WINDOW = "[log]\ndedup_window = 0\n"
UNCHECKED = (str(Path(__file__).resolve()), WITHOUT_CHECKSUMS)
VARIANTS = (
    Variant("as it is"),
    Variant("no checksums", program=UNCHECKED),
    Variant("no window", config=NO_WINDOW),
    Variant("neither", program=UNCHECKED, config=NO_WINDOW),
)


def serve_without_checksums(arguments: list[str]) -> None:
    """The `sluicegate` command with nothing computed for checksums; its processes are forked and inherit that."""
    from sluicegate.eventlog import erasing, rows, sqlite
    from sluicegate.scripts.admin import main

    for module in (erasing, rows, sqlite):
        module.crc32c = lambda data: 0  # type: ignore[attr-defined]
    sys.argv = ["sluicegate", *arguments]
    main()


if __name__ == "__main__":
    if sys.argv[1:2] == [WITHOUT_CHECKSUMS]:
        serve_without_checksums(sys.argv[2:])
    else:
        compare(VARIANTS, title="What the window of message ids and checksums cost", description=__doc__)

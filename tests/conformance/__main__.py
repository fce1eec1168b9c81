"""`python -m tests.conformance [TYPE ...]`: the score of every type by oracle, and each deviation with its reason.

A deviation is a `rule` of the vendor's, a `setting` of the oracle's that has no counterpart here, or our `choice`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.runner import Score
from tests.conformance.test_warehouse import DIALECTS, load, n_equal
from tests.conformance.vendors import VENDORS, scores


def report(name: str, found: dict[tuple[str, str], Score], n_examples: int = 2) -> Iterator[str]:
    """The lines about one type."""
    for (suite, oracle), score in found.items():
        yield (
            f"{name}, {suite}, {oracle}: {score.equal} of {score.compared} fields, {score.share:.1%}; "
            f"{score.share_by_rules:.1%} where the oracle keeps to the vendor's rules"
        )
        for rule, differences in score.explained.items():
            yield f"    {len(differences):3} {rule}"
        for difference in score.unexplained[:n_examples]:
            yield f"        unexplained: {difference}"
        if len(score.unexplained) > n_examples:
            yield f"        unexplained: {len(score.unexplained) - n_examples} more"


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names or [*VENDORS, *DIALECTS]:
            if name in DIALECTS:
                print(f"{name}: {n_equal(name)} of {len(load(name))} cases equal")
            else:
                print("\n".join(report(name, scores(VENDORS[name], Path(folder)), n_examples=200)))


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m tests.conformance [TYPE ...]`: the score of every type by oracle, and each deviation with its reason.

A deviation is a `rule` of the vendor's, a `setting` of the oracle's that has no counterpart here, or our `choice`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance import test_streams as streams
from tests.conformance import test_warehouse as warehouse
from tests.conformance.runner import Score
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


def report_streams(name: str) -> Iterator[str]:
    """The lines about a type whose records are the events themselves."""
    cases = streams.load(name)
    yield f"{name}: {streams.n_equal(name)} of {len(cases)} cases equal"
    for case in cases:
        if not streams.is_equal(name, case):
            yield f"      1 choice: {case['name']}: {streams.DEVIATIONS.get(case['name'], 'unexplained')}"


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names or [*VENDORS, *warehouse.DIALECTS, *streams.FOLDERS]:
            if name in warehouse.DIALECTS:
                print(f"{name}: {warehouse.n_equal(name)} of {len(warehouse.load(name))} cases equal")
            elif name in streams.FOLDERS:
                print("\n".join(report_streams(name)))
            else:
                print("\n".join(report(name, scores(VENDORS[name], Path(folder)), n_examples=200)))


if __name__ == "__main__":
    main(sys.argv[1:])

from __future__ import annotations

import pytest

from tests.simulation import mutations, mutations_beyond, mutations_held
from tests.simulation.mutations import Mutation
from tests.simulation.runner import explore

FOUND_WITHIN = mutations.FOUND_WITHIN | mutations_beyond.FOUND_WITHIN | mutations_held.FOUND_WITHIN


@pytest.mark.parametrize("mutation", FOUND_WITHIN, ids=lambda mutation: mutation.__name__)
def test_planted_mistake_is_found(mutation: Mutation) -> None:
    seeds = FOUND_WITHIN[mutation]

    with mutation():
        found = next((seed for seed in seeds if _breaks_a_rule(seed)), None)

    assert found is not None, f"not found within {seeds}"


def _breaks_a_rule(seed: int) -> bool:
    """Whether a rule was broken, and not the simulator by a mistake that does not fit the product any more."""
    return any(text.startswith("Violation: ") for text in explore([seed]).failures.values())

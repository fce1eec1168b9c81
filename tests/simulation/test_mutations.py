from __future__ import annotations

import pytest

from tests.simulation.mutations import FOUND_WITHIN, Mutation
from tests.simulation.runner import explore


@pytest.mark.parametrize("mutation", FOUND_WITHIN, ids=lambda mutation: mutation.__name__)
def test_planted_mistake_is_found(mutation: Mutation) -> None:
    limit = FOUND_WITHIN[mutation]

    with mutation():
        found = next((seed for seed in range(limit) if explore([seed]).failures), None)

    assert found is not None, f"not found within {limit} seeds"

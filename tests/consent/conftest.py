from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.standing import Rules
from sluicegate.consent.view import LedgerView

OpenView = Callable[..., LedgerView]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "consent.db", tmp_path / "consent.key", purposes=("measurement", "marketing"))
    yield opened
    opened.close()


@pytest.fixture
def open_view(ledger: Ledger) -> Iterator[OpenView]:
    views: list[LedgerView] = []

    def opening(rules: Rules = Rules(), **options: int) -> LedgerView:  # noqa: B008
        views.append(LedgerView(ledger.path, ledger.path.with_name("consent.key"), rules, **options))
        return views[-1]

    yield opening
    for view in views:
        view.close()

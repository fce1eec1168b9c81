from __future__ import annotations

import pytest

from sluicegate.config.model import PurposesConfig
from sluicegate.consent.named import named_consent
from sluicegate.errors import Refused

PURPOSES = PurposesConfig(custom=("surveys",), aliases={"analytics": "measurement"}, vendors=(7,))


def test_aliases_stand_for_their_purposes_and_the_denial_counts() -> None:
    found = named_consent({"analytics": True, "surveys": True, "marketing": False}, PURPOSES)
    both = named_consent({"analytics": True, "measurement": False}, PURPOSES)

    assert found == {"measurement": True, "surveys": True, "marketing": False}
    assert both == {"measurement": False}


def test_unknown_purpose_is_refused_with_a_suggestion() -> None:
    with pytest.raises(Refused, match=r"'mesurement' is no purpose.*did you mean measurement"):
        named_consent({"mesurement": True}, PURPOSES)

from __future__ import annotations

import os

from hypothesis import settings

# A shared or slow machine is not a failure: what takes how long is measured in benchmarks. The same examples each time,
# so that a change is not refused for what it has not changed; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

from __future__ import annotations

from hypothesis import settings

# A shared or slow machine is not a failure: what takes how long is measured in benchmarks.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

"""Four events from segment-analytics-python. Arguments: URL, write key, run."""

import sys

import segment.analytics as analytics  # type: ignore[import-not-found]

url, key, run = sys.argv[1:]
analytics.write_key, analytics.host = key, url
context = {"consent": {"categoryPreferences": {"measurement": True, "marketing": False}}}
analytics.identify("u1", {"run": run}, context=context)
analytics.track("u1", "Order Completed", {"run": run, "total": 7.5}, context=context)
analytics.page("u1", "Docs", "Home", {"run": run}, context=context)
analytics.group("u1", "g1", {"run": run}, context=context)
analytics.shutdown()

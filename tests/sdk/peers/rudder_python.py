"""Four events from rudder-sdk-python. Arguments: URL, write key, run."""

import sys

import rudderstack.analytics as analytics  # type: ignore[import-not-found]

url, key, run = sys.argv[1:]
analytics.write_key, analytics.dataPlaneUrl = key, url
context = {
    "consentManagement": {
        "provider": "custom",
        "allowedConsentIds": ["measurement"],
        "deniedConsentIds": ["marketing"],
    }
}
analytics.identify("u1", {"run": run}, context=context)
analytics.track("u1", "Order Completed", {"run": run, "total": 7.5}, context=context)
analytics.page("u1", "Docs", "Home", {"run": run}, context=context)
analytics.group("u1", "g1", {"run": run}, context=context)
analytics.shutdown()

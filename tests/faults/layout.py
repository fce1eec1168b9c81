"""The configuration of a scenario's system: its destinations, what they require, and the secrets in it."""

from __future__ import annotations

from tests.faults.canaries import ADS_TOKEN, CRM_TOKEN, WRITE_KEYS
from tests.faults.events import Rule

HEAD = f"""\
data_dir = "{{{{data_dir}}}}"
[network]
allow = ["127.0.0.1"]
[gateway]
listen = "127.0.0.1:{{port}}"
write_keys = {{{{{{{{ web = "{WRITE_KEYS["web"]}", app = "{WRITE_KEYS["app"]}" }}}}}}}}
[consent]
"""
"""To be formatted with the port, and then with the data directory."""
DROP = 'on_undecided = "drop"\n'
"""Continues HEAD: what nobody has decided is denied at once, so that what is owed is known at every moment."""
HOLD_S = 2.0
HOLD = f'hold_ttl = "{HOLD_S:g}s"\n'
"""Continues HEAD: what nobody has decided is held, as by default, but not for half an hour."""
ARCHIVE = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "archive.jsonl"
"""
CRM = f"""
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "http://127.0.0.1:{{crm_port}}/crm"
headers = {{{{ Authorization = "Bearer {CRM_TOKEN}" }}}}
"""
ADS = f"""
[destinations.ads]
type = "webhook"
requires = ["measurement", "marketing"]
events = ["track"]
url = "http://127.0.0.1:{{ads_port}}/ads"
headers = {{{{ X-Api-Key = "{ADS_TOKEN}" }}}}
"""
SUPERVISOR = """
[supervisor]
retry_delay = "100ms"
retry_cap = "2s"
"""
RULES = {"archive": Rule(), "crm": Rule(("measurement",)), "ads": Rule(("measurement", "marketing"), ("track",))}

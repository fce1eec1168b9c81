from __future__ import annotations

import json

from tests.end_to_end.harness import MakeSystem, poll
from tests.end_to_end.receiver import Receiver

CONFIG = """
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.archive.map]
skip = ["Noise"]
add = {{ "properties.site" = "shop" }}
[destinations.hook]
type = "webhook"
requires = ["necessary"]
url = "{url}"
[destinations.hook.map]
only = ["Order *"]
drop = ["properties.margin"]
hash = ["properties.email"]
"""


def test_configured_changes_are_made_for_every_type(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    order = {"total": 5, "margin": 2, "email": " A@Example.com "}

    with running.client as client:
        client.track("Order Completed", user_id="u", properties=order)
        client.track("Noise", user_id="u")
        client.track("Tested", user_id="u")
        client.flush()
        archive = poll("the archive", lambda: (s := running.status("archive")).delivered == 2 and s)
        hook = poll("the hook", lambda: (s := running.status("hook")).delivered == 1 and s)

    stored = [json.loads(line) for line in (running.data_dir.root / "events.jsonl").read_text().splitlines()]
    assert [(event["event"], event["properties"]["site"]) for event in stored] == [
        ("Order Completed", "shop"),
        ("Tested", "shop"),
    ]
    assert archive.denied_by == {"filtered": 1}
    assert hook.denied_by == {"filtered": 2}
    (sent,) = receiver.events
    assert set(sent["properties"]) == {"total", "email"}
    assert len(sent["properties"]["email"]) == 64

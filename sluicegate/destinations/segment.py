"""`segment`: forwards events, whole and unchanged, to Segment or another system that speaks its protocol.

Segment's HTTP API takes `{"batch": [...], "sentAt": ...}` with the write key as the user of Basic authentication, and
recognises repeated events by `messageId`. It answers 200 to events that it drops later, so what is known to be refused
is refused here: an event above 32 KB (segment.com/docs/connections/sources/catalog/libraries/server/http-api).
"""

from __future__ import annotations

import base64

from sluicegate.acceptance.times import write_ms
from sluicegate.destinations.base import Batch
from sluicegate.destinations.plan import Plan, Request
from sluicegate.destinations.vendor import VendorDestination
from sluicegate.destinations.vendor_settings import SegmentSettings


class Segment(VendorDestination):
    """Posts each batch as it is; events are not decoded."""

    settings_type = SegmentSettings
    settings: SegmentSettings

    def preview(self, batch: Batch, now_ms: int) -> Plan:
        """One request with all events that are not too large."""
        most = self.settings.max_event_bytes
        rule = f"larger than the {most} bytes that an event may have"
        plan = Plan(rejected={index: rule for index, raw in enumerate(batch.raws) if len(raw) > most})
        kept = [index for index in range(len(batch)) if index not in plan.rejected]
        if kept:
            joined = b",".join([batch.raws[index] for index in kept]) if plan.rejected else batch.joined()
            body = b'{"batch":[' + joined + b'],"sentAt":"' + write_ms(now_ms).encode() + b'"}'
            plan.requests.append(Request(self.settings.url, body, kept, self._headers(), self.settings.gzip))
        return plan

    def _headers(self) -> dict[str, str]:
        key = base64.b64encode(f"{self.settings.write_key.reveal()}:".encode()).decode()
        return {"Authorization": f"Basic {key}"}

"""Vendors' web APIs as they answer: what each does with a request in which one event is wrong.

An event whose name has "Refused" in it is one that the vendor refuses by rules that nobody else knows.
"""

from __future__ import annotations

import gzip
from typing import Any

import msgspec

from sluicegate.testing.http_receiver import Reply, Request

_encode = msgspec.json.encode


def body_of(request: Request) -> Any:
    """The JSON of a request."""
    body = request.body
    return msgspec.json.decode(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)


def ga4(request: Request) -> Reply:
    """Says yes to anything (developers.google.com/analytics/devguides/collection/protocol/ga4/reference)."""
    return Reply(204, body=b"")


def amplitude(request: Request) -> Reply:
    """Refuses the request and lists the places of bad events (amplitude.com/docs/apis/analytics/http-v2)."""
    events = body_of(request)["events"]
    bad = [place for place, event in enumerate(events) if "Refused" in event["event_type"]]
    if bad:
        said = {
            "code": 400,
            "error": "Invalid field values on some events",
            "events_with_invalid_fields": {"time": bad},
        }
        return Reply(400, body=_encode(said))
    return Reply(200, body=_encode({"code": 200, "events_ingested": len(events)}))


def mixpanel(request: Request) -> Reply:
    """Keeps the good ones and names the others (docs.mixpanel.com/troubleshooting/errors/400-bad-request)."""
    records = body_of(request)
    failed = [
        {"index": place, "insert_id": one["properties"]["$insert_id"], "field": "properties.x", "message": "is invalid"}
        for place, one in enumerate(records)
        if "Refused" in one.get("event", "")
    ]
    if failed:
        said = {"code": 400, "num_records_imported": len(records) - len(failed), "failed_records": failed}
        return Reply(400, body=_encode(said))
    return Reply(200, body=_encode({"code": 200, "num_records_imported": len(records), "status": "OK"}))


def meta(request: Request) -> Reply:
    """Refuses the request as a whole and names nothing (.../docs/graph-api/guides/error-handling)."""
    events = body_of(request)["data"]
    if any("Refused" in event["event_name"] for event in events):
        error = {"message": "Invalid parameter", "type": "OAuthException", "code": 100, "fbtrace_id": "x"}
        return Reply(400, body=_encode({"error": error}))
    return Reply(200, body=_encode({"events_received": len(events), "messages": [], "fbtrace_id": "x"}))

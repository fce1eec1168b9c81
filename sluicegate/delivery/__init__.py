"""Delivery: from a cursor in the event log to a vendor, with retries, order and accounts."""

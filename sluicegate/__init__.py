"""Sluicegate: a self-hosted, consent-aware router for analytics events."""

__version__ = "0.1.0"

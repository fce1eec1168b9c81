"""Consent: stamps on events, requirements of destinations, decisions."""

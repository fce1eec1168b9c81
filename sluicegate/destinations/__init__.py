"""Destination types and the contract they keep."""

"""Checking and repairing the files of a stopped system."""

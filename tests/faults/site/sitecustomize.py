"""On PYTHONPATH of a system under test: puts the commanded disk below every process of it."""

from sluicegate.testing.commanded_disk import install

install()

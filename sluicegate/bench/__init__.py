"""The measuring side of `sluicegate bench`: load, receivers, a baseline, and what is made of their reports.

Nothing here is used by the running system, and nothing here uses it: the generator, the receivers and the straight
line are processes of their own, so that what they cost is not counted as the cost of the system.
"""

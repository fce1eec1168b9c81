"""A Sluicegate destination that reports orders to a revenue ledger."""

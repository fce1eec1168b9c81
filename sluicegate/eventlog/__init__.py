"""The event log: durable, ordered, offset-addressed batches."""

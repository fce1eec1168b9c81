"""What happened to one event at each destination, and why: told from the log, the stores, the ledger."""
